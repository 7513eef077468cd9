//! Clean copies: from production's dump on one real server to a sanitised live database on another, by the real program; refused, broken and
//! killed on the way, with the live database looked at all the time.

mod kills;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat::drill::sample::Sample;
use lifeboat::pipeline::lease::Claim;
use lifeboat::port::{Context, Log};
use lifeboat::system::postgres::Postgres;
use lifeboat::system::postgres::cluster::{Cluster, ClusterOptions, connect};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::jobs::rig::{Rig, Wanted};
use crate::victim::until;

/// The live database of the lower environment.
const LIVE: &str = "shop";

/// What a pull calls the copy until it is live.
const STAGED: &str = "lifeboat_pull_shop";

/// Sanitises the sample: who, where, what they wrote.
const CLEAN: &str = r#"
UPDATE shop.customers SET name = 'Customer ' || id, email = 'c' || id || '@test.invalid', address = NULL, preferences = NULL;
UPDATE shop.orders SET note = NULL;
TRUNCATE "Audit Log"."what ""they"" did";
REFRESH MATERIALIZED VIEW catalogue.favourites;
"#;

/// What the pull of most tests is, but for its files.
const RULES: &str = r#"
rewrite = [{ table = "public.links", columns = ["url", "more"], from = "https://www.shop.example", to = "https://staging.test.invalid/\"x\"" }]
assert = [{ title = "no customer has a real address", query = "SELECT id, email FROM shop.customers WHERE email !~ '@test\\.invalid$' -- all of them" },
          { title = "no note is left", query = "SELECT count(*) FROM shop.orders WHERE note IS NOT NULL", equals = 0 }]

[pull.clean.scan]
allow = ["@test.invalid"]
"#;

/// Production's server with the sample, a lower environment's with a live database, and a pull from one to the other.
pub struct Scene {
    pub rig: Rig,
    pub target: Cluster,
    pub cx: Context,
    pub files: TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What is different in a test.
pub struct Change<'a> {
    /// More of `[system.staging]`.
    pub system: &'a str,
    /// The files of `transform`.
    pub transform: &'a [(&'a str, &'a str)],
    /// More of `[pull.clean]`, rules and scan.
    pub rules: &'a str,
    /// Statements on production before it is dumped.
    pub production: &'a [&'a str],
    /// Of the target's server.
    pub settings: &'a [(&'a str, &'a str)],
    /// Orders in the sample.
    pub rows: u32,
    /// The layout of the dumps.
    pub format: &'a str,
}

impl Default for Change<'_> {
    fn default() -> Self {
        Change { system: "", transform: &[("clean.sql", CLEAN)], rules: RULES, production: &[], settings: &[], rows: 300, format: "plain" }
    }
}

impl Scene {
    pub fn open(change: &Change<'_>) -> Scene {
        let runtime = crate::stage::runtime();
        let cx = Context { log: Log::default(), ..Context::new(runtime.handle().clone()) };
        let files = tempfile::Builder::new().prefix("lb-").tempdir_in("/tmp").unwrap();
        let options = ClusterOptions {
            dir: files.path().join("cluster"),
            bin: None,
            password: "staging".into(),
            database: Some(LIVE.into()),
            settings: change.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            remove: true,
        };
        let target = Cluster::start(options, &cx).unwrap();
        fs::write(files.path().join("password"), "staging\n").unwrap();
        for (name, text) in change.transform {
            fs::write(files.path().join(name), text).unwrap();
        }
        let transform: Vec<String> = change.transform.iter().map(|(name, _)| files.path().join(name).display().to_string()).collect();
        let rest = format!(
            "[system.staging]\nkind = \"postgres\"\nhost = {:?}\nport = {}\nuser = \"postgres\"\ndatabase = \"{LIVE}\"\n\
             password = {{ file = {:?} }}\n{}\n\n\
             [job.orders]\nsystem = \"main\"\nstore = \"shelf\"\nkeys = [\"backup\"]\nformat = \"{}\"\nname = \"{{stage}}-{{yyyyMMddHHmmss}}{}\"\n\n\
             [pull.clean]\nfrom = \"orders\"\nsystem = \"staging\"\ntransform = {transform:?}\n{}\n",
            target.host().display().to_string(),
            target.port(),
            files.path().join("password").display().to_string(),
            change.system,
            change.format,
            if change.format == "custom" { ".dump.gz.gpg" } else { ".sql.gz.gpg" },
            change.rules,
        );
        let rig = Rig::open(&Wanted { rest: &rest, ..Wanted::default() });
        Sample { rows: change.rows, seed: 7, until: Timestamp::now() }.load(&rig.cluster, "app", &rig.cx).unwrap();
        rig.execute(
            "orders",
            &["CREATE TABLE public.links (id int PRIMARY KEY, url text, more jsonb);
               INSERT INTO public.links VALUES (1, 'see https://www.shop.example/a', '{\"to\": \"https://www.shop.example/b\"}'), (2, 'no', NULL)"],
        );
        rig.execute("orders", change.production);
        let scene = Scene { rig, target, cx, files, _runtime: runtime };
        scene.execute("postgres", &["CREATE ROLE app LOGIN PASSWORD 'app'"]);
        scene.execute(
            LIVE,
            &[
                "CREATE TABLE public.old (what text); INSERT INTO public.old VALUES ('the old data')",
                "COMMENT ON DATABASE shop IS 'Staging.'",
            ],
        );
        scene
    }

    /// On the lower environment's server.
    pub fn execute(&self, database: &str, statements: &[&str]) {
        let client = self.target.connect(database, &self.cx).unwrap();
        for statement in statements {
            self.cx.runtime.block_on(client.batch_execute(statement)).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }

    pub fn ask(&self, database: &str, query: &str) -> String {
        let client = self.target.connect(database, &self.cx).unwrap();
        let row = self.cx.runtime.block_on(client.query_one(query, &[])).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        row.get(0)
    }

    /// The databases there, with their comments.
    pub fn databases(&self) -> Vec<(String, String)> {
        crate::resume::databases(&self.target, &self.cx)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A dump in a second of its own, by the real program; gives its name.
    pub fn dump(&self) -> String {
        let second = || Timestamp::now().as_second();
        let now = second();
        until("the next second", || second() != now);
        self.rig.backup("orders").remove("orders").unwrap().object
    }

    pub fn pull(&self, more: &[&str]) -> (i32, String, String) {
        self.rig.run(&[&["pull", "clean"], more].concat())
    }

    /// It refuses, with this code and these words, and nothing is different from before.
    fn pull_refused(&self, code: i32, words: &[&str]) -> String {
        let before = self.databases();
        let (found, _, said) = self.pull(&[]);
        assert_eq!(found, code, "{said}");
        for word in words {
            assert!(said.contains(word), "no {word:?} in: {said}");
        }
        assert_eq!(self.databases(), before, "{said}");
        assert_eq!(self.ask(LIVE, "SELECT what FROM public.old"), "the old data");
        said
    }

    /// An ordinary role, connected or not.
    pub fn connect_as_app(&self, database: &str) -> Result<Client, lifeboat::report::Report> {
        self.cx.runtime.block_on(connect(&self.target.settings("app", "app", database)))
    }
}

/// Tries to get in all the time, as an ordinary role.
struct Burglar {
    stop: Arc<AtomicBool>,
    got_in: Arc<AtomicU32>,
    turned_away: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Burglar {
    /// Tries the copy, and the name it has before it is marked.
    fn of(scene: &Scene) -> Burglar {
        let [stop, saw] = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        let (got_in, turned_away) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let settings = scene.target.settings("app", "app", STAGED);
        let (ended, entered, refused, cx) = (Arc::clone(&stop), Arc::clone(&got_in), Arc::clone(&turned_away), scene.cx.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                match cx.runtime.block_on(connect(&settings)) {
                    Ok(_) => {
                        entered.fetch_add(1, Ordering::Relaxed);
                    }
                    // Where there is no such database there is nothing to be turned away from.
                    Err(error) if error.to_string().contains("does not exist") => {}
                    Err(_) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        saw.store(true, Ordering::Release);
                    }
                }
            }
        });
        Burglar { stop, got_in, turned_away, thread }
    }

    /// How often it got in, and how often it was turned away.
    fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
        (self.got_in.load(Ordering::Relaxed), self.turned_away.load(Ordering::Relaxed))
    }
}

// D11, G5, G6, B11, C5; TRAPS 26, 27, 29, 31
#[test]
fn a_clean_copy_is_restored_sanitised_proven_and_swapped_in() {
    let scene = Scene::open(&Change { rules: &format!("keep_for = \"1d\"\n{RULES}"), ..Change::default() });
    scene.execute(
        "postgres",
        &[
            "ALTER DATABASE shop SET app.mail TO 'off'",
            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
            "GRANT CONNECT ON DATABASE shop TO app",
        ],
    );
    let dump = scene.dump();
    let (code, shown, said) = scene.pull(&["--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(shown.contains(&dump) && shown.contains("clean.sql") && shown.contains("scan for email, phone, token"), "{shown}");
    assert_eq!(scene.databases().len(), 1, "a dry run made something");

    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    for phase in [
        "restore in",
        "count in",
        "neutralise in",
        "transform clean.sql in",
        "rewrite in",
        "assert in",
        "scan in",
        "clear away in",
        "swap in",
    ] {
        assert!(said.contains(phase), "no {phase:?} in: {said}");
    }
    assert!(said.contains("public.links.url: 1 rows, public.links.more: 1 rows"), "{said}");
    let customers =
        "SELECT count(*) || ' ' || count(*) FILTER (WHERE email ~ '^c[0-9]+@test.invalid$' AND address IS NULL) FROM shop.customers";
    assert_eq!(scene.ask(LIVE, customers), "35 35");
    assert_eq!(
        scene.ask(LIVE, "SELECT url || more::text FROM public.links WHERE id = 1"),
        "see https://staging.test.invalid/\"x\"/a{\"to\": \"https://staging.test.invalid/\\\"x\\\"/b\"}"
    );
    // The planner knows the new rows and nobody finds the old ones in what it knows.
    assert_eq!(scene.ask(LIVE, "SELECT (count(*) > 0)::text FROM pg_stats WHERE schemaname = 'shop' AND tablename = 'customers'"), "true");
    assert_eq!(
        scene.ask(LIVE, "SELECT count(*)::text FROM pg_stats WHERE most_common_vals::text || histogram_bounds::text ~ 'example.org'"),
        "0"
    );
    // What belongs to the environment stays; the old database is there.
    assert_eq!(scene.ask(LIVE, "SHOW app.mail"), "off");
    assert!(scene.connect_as_app(LIVE).is_ok());
    let databases = scene.databases();
    assert_eq!(databases.len(), 2, "{databases:?}");
    assert_eq!(databases[0], (LIVE.to_owned(), "Staging.".to_owned()));
    assert!(databases[1].0.starts_with("shop_until_20"), "{databases:?}");
    // What is kept is marked as every swap marks it.
    let rows: serde_json::Value = serde_json::from_str(&scene.rig.run(&["kept", "--json"]).1).unwrap();
    let (row, mark) = (&rows[0], &rows[0]["mark"]);
    assert_eq!(
        (&row["name"], &mark["was"], &mark["pull"]["name"]),
        (&databases[1].0.as_str().into(), &LIVE.into(), &"clean".into()),
        "{rows}"
    );
    let day = mark["until"].as_str().unwrap();
    assert!(mark["pull"]["until"].as_str().unwrap().starts_with(day) && row["until"] == day, "{rows}");
    let (_, table, _) = scene.rig.run(&["kept"]);
    assert!(table.contains(day) && table.contains("pull clean") && !table.contains(" ? "), "{table}");
    assert_eq!(scene.ask(&databases[1].0, "SELECT what FROM public.old"), "the old data");

    // It says what it is, and once is enough.
    let note: serde_json::Value = serde_json::from_str(&scene.ask(LIVE, "SHOW lifeboat.pulled")).unwrap();
    assert_eq!((&note["pull"], &note["dump"]), (&"clean".into(), &dump.as_str().into()), "{note}");
    assert_eq!(note["files"][0][0], "clean.sql");
    let (code, shown, said) = scene.pull(&[]);
    assert!(code == 0 && shown.starts_with("already there: shop is "), "{shown} {said}");
    let (code, shown, _) = scene.pull(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &told["state"]), (0, &"already there".into()));
    assert_eq!(scene.databases().len(), 2);
    // Another recipe is another copy.
    fs::write(scene.file("clean.sql"), format!("{CLEAN}\nUPDATE shop.customers SET name = 'x';")).unwrap();
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.ask(LIVE, "SELECT DISTINCT name FROM shop.customers"), "x");
    let (code, shown, said) = scene.pull(&["--again", "--json"]);
    assert_eq!(code, 0, "{said}");
    let told: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(told["verdict"], "proven", "{told}");
    assert_eq!(scene.databases().len(), 4);
}

// G1: an archive goes the same way; the first database of a name; what was kept long enough goes.
#[test]
fn an_archive_makes_the_first_database_of_a_name_and_old_ones_are_let_go_in_time() {
    let rules = format!("into = \"fresh\"\nkeep_for = \"1s\"\n{RULES}");
    let scene = Scene::open(&Change { rules: &rules, format: "custom", ..Change::default() });
    scene.dump();
    let (code, _, said) = scene.pull(&[]);
    assert!(code == 0 && said.contains("there was none before"), "{said}");
    assert!(scene.connect_as_app("fresh").is_ok(), "a new database is open like any other");
    assert_eq!(scene.ask("fresh", "SELECT count(*)::text FROM shop.customers"), "35");
    let kept = |scene: &Scene| scene.databases().into_iter().filter(|(name, _)| name.starts_with("fresh_until_")).count();
    let (code, _, said) = scene.pull(&["--again"]);
    assert_eq!((code, kept(&scene)), (0, 1), "{said}");
    let second = Timestamp::now().as_second();
    until("a kept database to be overdue", || Timestamp::now().as_second() > second + 1);
    let (code, _, said) = scene.pull(&["--again"]);
    assert_eq!((code, kept(&scene)), (0, 1), "{said}");
    assert!(said.contains("dropped fresh_until_"), "{said}");
}

// D11, G5, TRAPS 26, 31
#[test]
fn an_assertion_that_does_not_hold_refuses_and_shows_no_row_in_clear() {
    let transform = CLEAN.to_owned()
        + "\nUPDATE shop.customers SET email = 'Ada.Lovelace@example.org' WHERE id = 1003;
        UPDATE shop.orders SET note = 'for Ada Lovelace' WHERE id = (SELECT min(id) FROM shop.orders);";
    let scene = Scene::open(&Change { transform: &[("clean.sql", &transform)], ..Change::default() });
    scene.dump();
    let said = scene.pull_refused(
        3,
        &[
            "2 of 2 assertions do not hold",
            "no customer has a real address: 1 rows",
            "id 1003, email A**.L*******@e******.o**",
            "no note is left: 1, expected 0",
        ],
    );
    assert!(!said.contains("Lovelace"), "{said}");
}

// G5, TRAPS 26, 31
#[test]
fn what_the_scan_finds_in_any_kind_of_column_refuses_and_is_told_by_its_place() {
    let planted = "CREATE DOMAIN public.word AS text;
        CREATE TABLE public.\"Left over\" (id int PRIMARY KEY, plain varchar(60), blank char(40), doc jsonb, old json, page xml, list text[], bytes bytea,
            own public.word, place shop.address, found tsvector, numbers bigint, fine text);
        INSERT INTO public.\"Left over\" VALUES (1, 'a.plain@example.org', 'b.blank@example.org', '{\"k\": [\"c.doc@example.org\"]}',
            '{\"k\": \"d.old@example.org\"}', '<m>e.page@example.org</m>', ARRAY['x', 'f.list@example.org'], 'g.bytes@example.org'::bytea,
            'call +44 7700 900123', ROW('h.place@example.org', 't', 'p'), to_tsvector('simple', 'i.found@example.org'), 447700900123, 'j@test.invalid');
        INSERT INTO public.\"Left over\" (id, plain) SELECT n, 'k' || n || '@example.net' FROM generate_series(2, 9) n;
        CREATE MATERIALIZED VIEW public.seen AS SELECT plain AS copy FROM public.\"Left over\" WHERE id = 1;
        CREATE FUNCTION public.get() RETURNS text LANGUAGE sql AS $$ SELECT 'ghp_0123456789abcdefghijklmnopqrstuvwxyz' $$;
        COMMENT ON TABLE public.links IS 'ask ops@example.org';
        SELECT lo_from_bytea(4242, convert_to(repeat('x', 2040) || ' l.large@example.org ' || repeat('y', 9000), 'UTF8'))";
    let scene = Scene::open(&Change { production: &[planted], ..Change::default() });
    scene.dump();
    let said = scene.pull_refused(
        3,
        &[
            "what looks like personal data or a secret is still in 13 places",
            "public.Left over.plain: email in 9 values, like ",
            "public.Left over.blank: email in 1 value, like b.b****@e******.o**",
            "public.Left over.doc: email",
            "public.Left over.old: email",
            "public.Left over.page: email",
            "public.Left over.list: email",
            "public.Left over.bytes: email",
            "public.Left over.own: phone in 1 value, like +4* 7*** 9*****",
            "public.Left over.place: email",
            "public.Left over.found: email",
            "public.seen.copy: email",
            "(bodies of functions): token in 1 value, like g**_0***********************************",
            "(comments): email",
            "(large objects): email in 1 value, like l.l****@e******.o**",
        ]
        .into_iter()
        .filter(|words| !words.starts_with("what looks"))
        .collect::<Vec<_>>(),
    );
    for shown in ["plain@", "ops@", "900123", "ghp_0"] {
        assert!(!said.contains(shown), "{shown}: {said}");
    }
    // What may stay is said, and then it may; a mistyped exemption is none.
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    let rule = "allow = [\"@test.invalid\", \"*@example.org\", \"*@example.net\", \"+44 7700 900123\", \"ghp_*\"]";
    fs::write(
        &scene.rig.config,
        config.replace("allow = [\"@test.invalid\"]", &format!("{rule}\nexempt = ['public.\"Left over\".plane']")),
    )
    .unwrap();
    scene.pull_refused(3, &["there is no column public.\"Left over\".plane to exempt"]);
    fs::write(
        &scene.rig.config,
        config.replace("allow = [\"@test.invalid\"]", &format!("{rule}\nexempt = ['public.\"Left over\".plain']")),
    )
    .unwrap();
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
}

// G5, TRAPS 3, 26, 31
#[test]
fn a_transform_that_fails_is_told_by_file_and_line_and_nothing_it_did_is_seen() {
    let scene = Scene::open(&Change::default());
    scene.dump();
    let clean = scene.file("clean.sql");
    let path = clean.display();
    fs::write(scene.file("away.sql"), "\\c postgres\n").unwrap();
    for (text, code, words) in [
        (
            "SELECT 1;\n\nUPDATE shop.custmers SET name = '';\n",
            1,
            vec![format!("{path}:3 failed"), "relation \"shop.custmers\" does not exist".into()],
        ),
        // Each would be exit 0 for psql alone, with half of it done.
        ("UPDATE shop.customers SET name = '';\n\\q\nDELETE FROM shop.orders;", 1, vec!["did not".into()]),
        ("UPDATE shop.customers SET name = 'open;\n", 1, vec![format!("{path}:1 failed"), "unterminated quoted string".into()]),
        ("\\if false\nUPDATE shop.customers SET name = '';\n", 1, vec![format!("{path}")]),
        ("\\set ON_ERROR_STOP off\nUPDATE nowhere SET x = 1;\n", 2, vec![format!("{path}:1 sets ON_ERROR_STOP")]),
        ("SELECT 1; \\set ON_ERROR_STOP off\n", 2, vec![format!("{path}:1 sets ON_ERROR_STOP")]),
        ("\\set go ON_ERROR\n\\set :go _STOP\n\\i nowhere.sql\n", 1, vec!["nowhere.sql".into()]),
        ("UPDATE shop.customers SET name = '';\nROLLBACK;\nSELECT 2;\n", 1, vec!["did not stay in its transaction".into()]),
        ("UPDATE shop.customers SET name = '';\nCOMMIT;\nSELECT 2;\n", 1, vec!["did not stay in its transaction".into()]),
        ("SELECT 1;\nSELECT 2; \\c postgres\n", 2, vec![format!("{path}:2 connects to something else")]),
        ("\\connect - app\n", 2, vec![format!("{path}:1 connects to something else")]),
        ("-- lifeboat: no transaction\n\\ir away.sql\n", 1, vec!["did not stay in the copy".into(), "postgres".into()]),
        ("SELECT 1;\nVACUUM shop.orders;\n", 1, vec![format!("{path}:2 failed"), "-- lifeboat: no transaction".into()]),
        ("CREATE UNIQUE INDEX ON shop.customers ((1));\n", 1, vec![format!("{path}:1 failed")]),
    ] {
        fs::write(&clean, text).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        scene.pull_refused(code, &words);
    }
    // What needs no transaction says so.
    fs::write(&clean, format!("-- lifeboat: no transaction\n{CLEAN}VACUUM shop.orders;\n")).unwrap();
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    // An own transaction inside ends ours half-way (trap 51); what is staged is not seen half-way all the same.
    fs::write(&clean, format!("BEGIN;\n{CLEAN}COMMIT;\nUPDATE nowhere SET x = 1;\n")).unwrap();
    let (code, _, said) = scene.pull(&[]);
    assert!(code == 1 && said.contains(&format!("{path}:8 failed")), "{said}");
    assert_eq!(scene.databases().len(), 2);
    // An \i inside is done, from where the file is; and then nobody knows whether the copy is there already.
    fs::write(scene.file("part.sql"), CLEAN).unwrap();
    fs::write(&clean, "\\ir part.sql\n").unwrap();
    for _ in 0..2 {
        let (code, shown, said) = scene.pull(&[]);
        assert!(code == 0 && shown.is_empty(), "{shown}{said}");
    }
}

// G6
#[test]
fn a_rewrite_of_what_is_not_there_is_an_error_and_of_every_kind_of_text_is_exact() {
    let more = "CREATE TABLE public.kinds (id int PRIMARY KEY, t text, v varchar(40), c char(30), x xml, j json, a text[], n int);
        INSERT INTO public.kinds VALUES (1, 'old.old', 'an old one', 'old', '<a>old</a>', '{\"old\": \"old\"}', ARRAY['old', NULL, 'not'], 1), (2, 'OLD', '', '', NULL, NULL, '{}', 2)";
    let rules = "rewrite = [{ table = \"public.kinds\", columns = [\"t\", \"v\", \"c\", \"x\", \"j\", \"a\"], from = \"old\", to = \"it's new\" }]\nscan = { patterns = [\"token\"] }\n";
    let scene = Scene::open(&Change { production: &[more], rules, ..Change::default() });
    scene.dump();
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    let with = |from: &str, to: &str| fs::write(&scene.rig.config, config.replace(from, to)).unwrap();
    with("table = \"public.kinds\"", "table = \"public.kind\"");
    scene.pull_refused(3, &["there is no table public.kind to rewrite"]);
    with("\"t\", \"v\"", "\"t\", \"w\"");
    scene.pull_refused(3, &["table public.kinds has no column \"w\" to rewrite"]);
    with("\"t\", \"v\"", "\"t\", \"n\"");
    scene.pull_refused(3, &["public.kinds.n is of type integer"]);
    fs::write(&scene.rig.config, &config).unwrap();
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("public.kinds.t: 1 rows, public.kinds.v: 1 rows"), "{said}");
    let row = "SELECT concat_ws('|', t, v, c, x::text, j::text, a::text) FROM public.kinds ORDER BY id LIMIT 1";
    assert_eq!(
        scene.ask(LIVE, row),
        "it's new.it's new|an it's new one|it's new                      |<a>it's new</a>|{\"it's new\": \"it's new\"}|{\"it's new\",NULL,not}"
    );
    assert_eq!(scene.ask(LIVE, "SELECT t FROM public.kinds WHERE id = 2"), "OLD");
}

// D11, TRAPS 7, 26
#[test]
fn a_damaged_dump_leaves_the_live_database_as_it_is() {
    let scene = Scene::open(&Change::default());
    let dump = scene.dump();
    let shelf = scene.rig.dir.path().join("shelf").join(&dump);
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&shelf).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(b"damaged!").unwrap();
    drop(file);
    scene.pull_refused(3, &["SHA-256 is another"]);
    fs::OpenOptions::new().write(true).open(&shelf).unwrap().set_len(middle).unwrap();
    scene.pull_refused(3, &[&dump]);
}

// TRAPS 25, 31: who the server says it is decides, whatever it is called.
#[test]
fn a_copy_never_goes_to_where_its_dump_was_made_of_and_never_into_production() {
    let scene = Scene::open(&Change::default());
    scene.dump();
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    let with = |more: &str| fs::write(&scene.rig.config, config.replace("system = \"staging\"\n", more)).unwrap();
    with("system = \"main\"\n");
    scene.pull_refused(3, &["was made of this very database"]);
    with("system = \"main\"\nsame_server = true\n");
    scene.pull_refused(3, &["was made of this very database"]);
    with("system = \"main\"\ninto = \"copy\"\n");
    scene.pull_refused(3, &["was made of this very server", "same_server = true"]);
    with("system = \"main\"\ninto = \"copy\"\nsame_server = true\n");
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.rig.ask("copy", "SELECT count(*)::text FROM shop.customers WHERE email ~ '@test.invalid'"), "35");
    assert_eq!(scene.rig.ask("orders", "SELECT count(*)::text FROM shop.customers WHERE email ~ '@test.invalid'"), "0");

    fs::write(&scene.rig.config, config.replace("production = false", "production = true")).unwrap();
    let (code, _, said) = scene.rig.run(&["check"]);
    assert!(code == 2 && said.contains("the pull `clean` replaces a database, and this environment is production"), "{said}");
    scene.pull_refused(2, &["environment is production"]);
}

// G5, TRAPS 31: the copy's owner, too, is an ordinary role.
#[test]
fn nobody_gets_into_the_copy_before_it_is_live_and_a_superuser_not_for_long() {
    let slow = format!("{CLEAN}\nSELECT pg_sleep(1);\n");
    let change = Change { system: "owner = \"app\"", transform: &[("clean.sql", &slow)], ..Change::default() };
    let scene = Scene::open(&change);
    scene.execute("postgres", &["GRANT CREATE ON DATABASE shop TO app", "ALTER ROLE app CREATEDB", "GRANT pg_read_all_data TO app"]);
    scene.dump();
    let burglar = Burglar::of(&scene);
    let settings = scene.target.settings("postgres", "staging", STAGED);
    let (stop, cx) = (Arc::new(AtomicBool::new(false)), scene.cx.clone());
    let ended = Arc::clone(&stop);
    let superuser = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        let mut times = 0;
        while !ended.load(Ordering::Acquire) {
            if let Ok(client) = cx.runtime.block_on(connect(&settings)) {
                let began = Instant::now();
                until("a superuser to be sent away", || cx.runtime.block_on(client.simple_query("SELECT 1")).is_err());
                longest = longest.max(began.elapsed());
                times += 1;
            }
        }
        (times, longest)
    });
    let (code, _, said) = scene.pull(&[]);
    let (got_in, turned_away) = burglar.end();
    stop.store(true, Ordering::Release);
    let (times, longest) = superuser.join().unwrap();
    eprintln!("an ordinary role was turned away {turned_away} times; a superuser was in {times} times, for {longest:?} at most");
    assert_eq!(code, 0, "{said}");
    assert_eq!(got_in, 0, "the copy's owner got in");
    assert!(turned_away > 20, "the copy was never there to be tried: {turned_away}");
    assert!(times > 0 && longest < Duration::from_secs(1), "{times} {longest:?}");
    assert!(said.contains("sent postgres () away from the database that is not sanitised yet"), "{said}");
    assert!(scene.connect_as_app(LIVE).is_ok());

    // A second pull into the same database at the same time is busy.
    let inventory = lifeboat::config::load(&scene.rig.config).unwrap();
    let staging = Postgres::new(inventory.system("staging").unwrap().postgres().clone());
    let turn = staging.take_turn(LIVE, &scene.cx).unwrap();
    let (code, _, said) = scene.pull(&["--again"]);
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("another pull into \"shop\"") && said.contains("of postgres, since 20"), "{said}");
    drop(turn);
    assert_eq!(scene.pull(&["--again"]).0, 0);
}

// G5: whoever restores need not be a superuser; the database's owner stays out all the same.
#[test]
fn a_role_that_is_no_superuser_pulls_behind_closed_doors_too() {
    let slow = format!("{CLEAN}\nSELECT pg_sleep(0.5);\n");
    let scene = Scene::open(&Change { system: "owner = \"app\"", transform: &[("clean.sql", &slow)], ..Change::default() });
    scene.execute(
        "postgres",
        &[
            "CREATE ROLE puller LOGIN CREATEDB PASSWORD 'staging'",
            "GRANT app TO puller",
            "ALTER DATABASE shop OWNER TO app",
            "GRANT pg_signal_backend TO puller",
        ],
    );
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    let (before, staging) = config.split_once("[system.staging]").unwrap();
    fs::write(&scene.rig.config, format!("{before}[system.staging]{}", staging.replacen("user = \"postgres\"", "user = \"puller\"", 1)))
        .unwrap();
    scene.dump();
    scene.pull_refused(3, &["puller may not say of a database", "GRANT SET ON PARAMETER lifeboat.pulled TO \"puller\""]);
    scene.execute("postgres", &["GRANT SET ON PARAMETER lifeboat.pulled TO puller"]);
    let burglar = Burglar::of(&scene);
    let (code, _, said) = scene.pull(&[]);
    let (got_in, turned_away) = burglar.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(got_in, 0);
    assert!(turned_away > 5, "the copy was never there to be tried: {turned_away}");
    let client = scene.connect_as_app(LIVE).unwrap();
    let row =
        scene.cx.runtime.block_on(client.query_one("SELECT count(*) FROM shop.customers WHERE email ~ '@test.invalid'", &[])).unwrap();
    assert_eq!(row.get::<_, i64>(0), 35);
    assert_eq!(scene.ask("postgres", "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'shop'"), "app");
}

// G11
#[test]
fn a_pull_waits_for_the_backup_that_is_under_way() {
    let scene = Scene::open(&Change { rules: &format!("wait = \"5m\"\n{RULES}"), ..Change::default() });
    scene.dump();
    let store = scene.rig.engine.store(scene.rig.engine.inventory().job("orders").unwrap(), &scene.cx).unwrap();
    let locks = scene.file("locks");
    let claim = Claim { system_identifier: "1", database: "orders", job: "orders", length: Duration::from_mins(10), locks: &locks };
    let lease = lifeboat::pipeline::lease::acquire(&store, &claim, &scene.cx).unwrap();
    assert_eq!(scene.pull(&["--dry-run"]).0, 0, "a dry run waits for nobody");
    let said = scene.file("said");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command
        .args(["pull", "clean", "--config"])
        .arg(&scene.rig.config)
        .env("HOME", scene.files.path())
        .env("XDG_STATE_HOME", scene.files.path());
    let mut waiting = command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    until("the pull to wait", || fs::read_to_string(&said).unwrap().contains("waits for the backup of orders"));
    assert_eq!(scene.databases().len(), 1);
    drop(lease);
    assert!(waiting.wait().unwrap().success(), "{}", fs::read_to_string(&said).unwrap());
    assert_eq!(scene.databases().len(), 2);
}

// TRAPS 30
#[test]
fn a_copy_neither_subscribes_nor_runs_jobs_nor_reaches_production() {
    let acting = [
        "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1 user=x password=hunter2' PUBLICATION p WITH (connect = false)",
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER upstream FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1');
         CREATE USER MAPPING FOR PUBLIC SERVER upstream OPTIONS (user 'x', password 'hunter2');
         CREATE USER MAPPING FOR \"postgres\" SERVER upstream OPTIONS (user 'y', password 'hunter2')",
        // As pg_cron has it.
        "CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigint PRIMARY KEY, command text, active boolean NOT NULL);
         INSERT INTO cron.job VALUES (1, 'SELECT mail()', true), (2, 'SELECT 2', false)",
        "CREATE TABLE public.outbox (id int PRIMARY KEY, sent boolean); INSERT INTO public.outbox VALUES (1, false)",
    ];
    let rules = format!("neutralise_sql = [\"{{}}/quiet.sql\"]\n{RULES}");
    let scene = Scene::open(&Change {
        production: &acting,
        rules: &rules.replace("neutralise_sql = [\"{}/quiet.sql\"]\n", ""),
        settings: &[("wal_level", "replica"), ("archive_mode", "on"), ("archive_command", "/bin/true")],
        ..Change::default()
    });
    fs::write(scene.file("quiet.sql"), "UPDATE public.outbox SET sent = true;\nALTER DATABASE :\"database\" SET app.mail TO 'off';\n")
        .unwrap();
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    let rule = format!("from = \"orders\"\nneutralise_sql = [{:?}]", scene.file("quiet.sql").display().to_string());
    fs::write(&scene.rig.config, config.replace("from = \"orders\"", &rule)).unwrap();
    scene.execute("postgres", &["ALTER DATABASE shop SET app.mail TO 'on'"]);
    scene.dump();
    let (code, _, said) = scene.pull(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("dropped 1 subscriptions: feed") && said.contains("switched off 1 jobs in cron.job"), "{said}");
    assert!(said.contains("dropped 2 user mappings") && said.contains("beware: the server archives WAL"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(scene.ask(LIVE, "SELECT count(*)::text FROM pg_subscription"), "0");
    assert_eq!(scene.ask(LIVE, "SELECT count(*)::text FROM pg_user_mappings"), "0");
    assert_eq!(scene.ask(LIVE, "SELECT count(*) || ' ' || count(*) FILTER (WHERE active) FROM cron.job"), "2 0");
    assert_eq!(scene.ask(LIVE, "SELECT sent::text FROM public.outbox"), "true");
    assert_eq!(scene.ask(LIVE, "SHOW app.mail"), "off", "what the copy's own files set wins");
}

// A runbook pulls, and its check asks the live database what it is.
#[test]
fn a_runbook_pulls_and_its_check_asks_the_live_database_what_it_is() {
    let scene = Scene::open(&Change::default());
    let dump = scene.dump();
    let books = scene.file("books");
    fs::create_dir(&books).unwrap();
    let text = r#"
[runbook]
id = "refresh"
title = "Refresh staging"
owner = "us"
review_by = 2099-01-01

[[step]]
id = "pull"
title = "A clean copy"
pull = { pull = "clean" }
verify = [{ pulled = { pull = "clean", dump = "{{ steps.pull.dump }}" } }]
"#;
    fs::write(books.join("refresh.toml"), text).unwrap();
    let config = fs::read_to_string(&scene.rig.config).unwrap();
    fs::write(&scene.rig.config, format!("{config}\n[runbooks]\npath = {:?}\n", books.display().to_string())).unwrap();
    let (code, shown, said) = scene.rig.run(&["check"]);
    assert_eq!(code, 0, "{shown}{said}");
    let (code, _, said) = scene.rig.run(&["run", "refresh", "--plain", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("ok  clean is live, made of {dump}")) && said.contains("= state: done"), "{said}");
    let (code, _, said) = scene.rig.run(&["run", "refresh", "--plain", "--yes"]);
    assert!(code == 0 && said.contains("= state: already there"), "{said}");
    fs::write(books.join("refresh.toml"), text.replace("pull = \"clean\"", "pull = \"claen\"")).unwrap();
    let (code, _, said) = scene.rig.run(&["check"]);
    assert!(code == 2 && said.contains("the configuration has no pull `claen`") && said.contains("did you mean `clean`?"), "{said}");
}
