//! Puts the box together, takes it apart.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use jiff::Timestamp;

use super::bucket::Bucket;
use super::disaster::{self, Loss, Scenario, Truth};
use super::keys::{self, Keys};
use super::place;
use super::sample::{APP, ORDERS, Sample};
use super::site::{Site, SiteSettings};
use crate::port::{Context, nonce};
use crate::report::{Report, Result};
use crate::system::place::Place;
use crate::system::postgres::cluster::{Cluster, ClusterOptions};

/// The database that is lost and found.
const DATABASE: &str = "orders";

/// The configuration, with names in braces for what is known only when everything is up.
const CONFIG: &str = include_str!("box.toml");

/// How many orders the sample has where nobody says.
pub const ROWS: u32 = 200_000;

/// What box is wanted.
#[derive(Clone, Debug)]
pub struct BoxOptions {
    /// Where; empty or not there yet. A new directory for temporary files where none is given.
    pub dir: Option<PathBuf>,
    /// Orders in the sample.
    pub rows: u32,
    /// Bits of the key. 4096 as in production, but tests that are not about keys are quicker with less; gpg takes no less than 1024.
    pub key_bits: u32,
    /// Whether the directory stays. What runs in it never does.
    pub keep: bool,
}

impl Default for BoxOptions {
    fn default() -> Self {
        BoxOptions { dir: None, rows: ROWS, key_bits: 4096, keep: false }
    }
}

/// A production of one's own. Dropping it stops everything and removes everything, also when a panic drops it; should the process be
/// killed, the servers die with it and the next box sweeps up the directory.
///
/// The fields are in the order they have to go.
pub struct TheBox {
    site: Site,
    bucket: Bucket,
    cluster: Cluster,
    keys: Keys,
    sample: Sample,
    config: PathBuf,
    place: Place,
}

impl TheBox {
    /// Makes it. On any error, and on cancellation, nothing is left. It outlives the cancellation of `cx` once it is made.
    pub fn start(options: &BoxOptions, cx: &Context) -> Result<TheBox> {
        place::sweep(cx);
        let began = Instant::now();
        let place = place::make(options.dir.as_deref(), options.keep)?;
        cx.log.say("box", &format!("the box is {}", place.path().display()));
        let making = Making { root: place.path(), began, cx };
        let sample = Sample { rows: options.rows, seed: 1912, until: Timestamp::now() };
        let secrets = Secrets { owner: nonce(16)?, app: nonce(16)? };
        // The key is one core's work and depends on nothing; nobody waits for it once something else has failed.
        let bits = options.key_bits;
        let key = Context { cancel: cx.cancel.child_token(), ..cx.clone() };
        let (servers, keys) = thread::scope(|scope| {
            let keys =
                scope.spawn(|| making.stage(&format!("a key, RSA-{bits}"), || Keys::generate(&making.root.join("keys"), bits, &key)));
            let servers = making.servers(&sample, &secrets, options.keep);
            if servers.is_err() {
                key.cancel.cancel();
            }
            (servers, keys.join().unwrap_or_else(|_| Err(Report::failed("the thread that makes the key panicked"))))
        });
        let ((cluster, bucket, site), keys) = (servers?, keys?);
        let config = making.config(&cluster, &bucket, &site, &secrets)?;
        making.say("everything is up");
        Ok(TheBox { site, bucket, cluster, keys, sample, config, place })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.place.path()
    }

    /// A `lifeboat.toml` that points at all of it.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The stand-in for the site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The PostgreSQL server.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The S3 service.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The key the dumps are for.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What the database was filled with.
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// Visitors place so many orders. What is placed after a backup is what a restore loses.
    pub fn trade(&self, orders: u32, cx: &Context) -> Result<()> {
        (0..orders).try_for_each(|_| self.site.place_order(cx).map(drop))
    }

    /// The disaster. What it gives knows what there was.
    pub fn strike(&self, scenario: Scenario, cx: &Context) -> Result<Truth> {
        let mut client = self.cluster.connect(DATABASE, cx)?;
        let truth = cx.wait(disaster::strike(scenario, &mut client))?;
        cx.log.say("box", scenario.story());
        Ok(truth)
    }

    /// What is missing in the database that bears the name now.
    pub fn loss(&self, truth: &Truth, cx: &Context) -> Result<Loss> {
        let mut client = self.cluster.connect(DATABASE, cx)?;
        cx.wait(truth.lost_after(&mut client))
    }
}

struct Secrets {
    owner: String,
    app: String,
}

/// A box in the making.
struct Making<'a> {
    root: &'a Path,
    began: Instant,
    cx: &'a Context,
}

impl Making<'_> {
    fn say(&self, what: &str) {
        self.cx.log.say("box", &format!("{:5.1} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn stage<T>(&self, what: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = make().map_err(|report| report.under(format!("making the box: {what}")))?;
        self.say(what);
        Ok(result)
    }

    fn servers(&self, sample: &Sample, secrets: &Secrets, keep: bool) -> Result<(Cluster, Bucket, Site)> {
        let cx = self.cx;
        let options = ClusterOptions {
            dir: self.root.join("pg"),
            bin: None,
            password: secrets.owner.clone(),
            database: Some(DATABASE.into()),
            settings: Vec::new(),
            remove: !keep,
        };
        let bucket = self.stage("an S3 service", || Bucket::start(&self.root.join("s3"), cx))?;
        let cluster = self.stage("a PostgreSQL server", || Cluster::start(options, cx))?;
        self.stage(&format!("a shop with {} orders", sample.orders()), || sample.load(&cluster, &secrets.app, cx))?;
        let database = cluster.settings(APP, &secrets.app, DATABASE);
        let site = self.stage("its site and search index", || {
            let site = Site::start(SiteSettings { database }, cx)?;
            site.caught_up(cx)?;
            Ok(site)
        })?;
        Ok((cluster, bucket, site))
    }

    /// Writes the configuration, and the secrets it refers to.
    fn config(&self, cluster: &Cluster, bucket: &Bucket, site: &Site, secrets: &Secrets) -> Result<PathBuf> {
        keys::write(&self.root.join("postgres.password"), 0o600, format!("{}\n", secrets.owner).as_bytes())?;
        let (host, bin) = (cluster.host().display(), cluster.bin().display());
        let mut text = CONFIG.to_owned();
        for (name, value) in [
            ("identifier", cluster.system_identifier().to_owned()),
            ("database", cluster.database().to_owned()),
            ("www", site.www()),
            ("api", site.api()),
            ("site_admin", site.admin()),
            ("orders_table", ORDERS.to_owned()),
            ("host", host.to_string()),
            ("user", cluster.user().to_owned()),
            ("bin", bin.to_string()),
            ("bucket", bucket.bucket().to_owned()),
            ("endpoint", bucket.endpoint()),
            ("credentials", bucket.credentials_file().display().to_string()),
        ] {
            text = text.replace(&format!("{{{name}}}"), &toml::Value::String(value).to_string());
        }
        text = text.replace("{port}", &cluster.port().to_string());
        let path = self.root.join("lifeboat.toml");
        keys::write(&path, 0o600, text.as_bytes())?;
        Ok(path)
    }
}
