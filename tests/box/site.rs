//! The stand-in for the site: its contract, state by state, and that it really follows its database.

use serde_json::{Value, json};

use super::*;
use lifeboat::drill::site::{Site, SiteSettings};

/// A site on a sample database.
struct Stage {
    world: World,
    site: Site,
    cluster: Cluster,
    client: reqwest::Client,
    _dir: TempDir,
}

const ROWS: u32 = 500;

impl Stage {
    fn new() -> Stage {
        let world = World::new();
        let dir = place();
        let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
        Sample { rows: ROWS, seed: 1, until: Timestamp::now() }.load(&cluster, "the app's", &world.cx).unwrap();
        let database = cluster.settings(sample::APP, "the app's", "orders");
        let site = Site::start(SiteSettings { database }, &world.cx).unwrap();
        site.caught_up(&world.cx).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Stage { world, site, cluster, client, _dir: dir }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        self.world.wait(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    fn get(&self, url: impl AsRef<str>) -> (u16, String) {
        self.send(self.client.get(url.as_ref()))
    }

    fn json(&self, url: impl AsRef<str>) -> Value {
        let (status, text) = self.get(url);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn post(&self, url: impl AsRef<str>) -> (u16, Value) {
        let (status, text) = self.send(self.client.post(url.as_ref()));
        (status, serde_json::from_str(&text).unwrap())
    }

    fn put(&self, url: impl AsRef<str>, body: &Value) -> (u16, Value) {
        let (status, text) = self.send(self.client.put(url.as_ref()).body(body.to_string()));
        (status, serde_json::from_str(&text).unwrap())
    }

    fn api(&self, path: &str) -> String {
        self.site.api() + path
    }

    fn admin(&self, path: &str) -> String {
        self.site.admin() + path
    }

    fn enter(&self, state: &str) {
        let wanted = json!({ "state": state });
        assert_eq!(self.put(self.admin("/state"), &wanted), (200, wanted.clone()));
        assert_eq!(self.json(self.admin("/state")), wanted);
    }

    fn count(&self) -> i64 {
        let client = self.cluster.connect("orders", &self.world.cx).unwrap();
        self.world.wait(client.query_one("SELECT count(*) FROM shop.orders", &[])).unwrap().get(0)
    }

    /// Starts a job and waits for its end.
    fn job(&self, path: &str, number: &str) -> Value {
        let (status, begun) = self.post(self.admin(path));
        assert_eq!(status, 202);
        let url = self.admin(path) + "/" + begun[number].as_str().unwrap();
        let mut last = Value::Null;
        until(path, || {
            last = self.json(&url);
            last["state"] != "running"
        });
        last
    }

    fn sql(&self, database: &str, sql: &str) {
        let client = self.cluster.connect(database, &self.world.cx).unwrap();
        self.world.wait(client.batch_execute(sql)).unwrap();
    }
}

// D13
#[test]
fn each_state_of_the_site_shows_from_outside_and_unknown_ones_are_refused() {
    let stage = Stage::new();
    assert_eq!(stage.json(stage.admin("/state")), json!({ "state": "live" }));
    let (status, page) = stage.get(stage.site.www() + "/");
    assert!(status == 200 && page.contains("<title>") && !page.contains("recovery"), "{page}");
    assert_eq!(stage.json(stage.api("/orders?limit=1"))["orders"].as_array().unwrap().len(), 1);
    assert_eq!(stage.post(stage.api("/orders")), (201, json!({ "order": ROWS + 1 })));
    assert_eq!(stage.count(), i64::from(ROWS) + 1);

    stage.enter("maintenance");
    let (status, page) = stage.get(stage.site.www() + "/");
    assert!(status == 503 && page.contains("maintenance"), "{page}");
    assert_eq!(stage.get(stage.api("/orders?limit=1")).0, 503);
    assert_eq!(stage.post(stage.api("/orders")).0, 503);
    assert_eq!(stage.json(stage.api("/_status"))["orders"], ROWS + 1);

    stage.enter("recovery");
    let (status, page) = stage.get(stage.site.www() + "/");
    assert!(status == 200 && page.contains("recovery"), "{page}");
    assert_eq!(stage.get(stage.api("/orders?limit=1")).0, 200);
    assert_eq!(stage.post(stage.api("/orders")).0, 503);
    assert_eq!(stage.site.place_order(&stage.world.cx).unwrap_err().kind, Kind::Refused);
    assert_eq!(stage.count(), i64::from(ROWS) + 1);

    for wrong in [json!({ "state": "Live" }), json!({ "state": "down" }), json!({}), json!(1)] {
        assert_eq!(stage.put(stage.admin("/state"), &wrong).0, 400, "{wrong}");
    }
    assert_eq!(stage.json(stage.admin("/state")), json!({ "state": "recovery" }));
    assert_eq!(stage.get(stage.site.www() + "/elsewhere").0, 404);
}

#[test]
fn the_status_is_what_the_database_says_and_follows_a_swap_by_name() {
    let stage = Stage::new();
    let status = stage.json(stage.api("/_status"));
    assert_eq!(status["database"], "orders");
    assert_eq!(status["orders"], ROWS);
    assert_eq!(status["server"], format!("PostgreSQL {}", stage.cluster.version()));

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'orders'";
    stage.sql("postgres", &format!("ALTER DATABASE orders ALLOW_CONNECTIONS false; {end}"));
    until("the site's connection is gone", || stage.get(stage.api("/_status")).0 == 503);
    let (_, text) = stage.get(stage.api("/_status"));
    assert!(text.contains("\"status\":\"error\"") && text.contains("not currently accepting connections"), "{text}");
    assert_eq!(stage.get(stage.site.www()).0, 500);

    stage.sql("postgres", "CREATE DATABASE fresh TEMPLATE orders");
    stage.sql("fresh", "DELETE FROM shop.payments; DELETE FROM shop.orders WHERE id > 10");
    stage.sql("postgres", "ALTER DATABASE orders RENAME TO orders_old; ALTER DATABASE fresh RENAME TO orders");
    let status = stage.json(stage.api("/_status"));
    assert_eq!((&status["database"], &status["orders"]), (&json!("orders"), &json!(10)));
}

// D15
#[test]
fn a_catch_up_job_makes_the_index_follow_the_database_and_removes_what_vanished() {
    let stage = Stage::new();
    let count = || stage.json(stage.api("/search/_count"))["documents"].clone();
    assert_eq!(count(), ROWS);
    let (_, placed) = stage.post(stage.api("/orders"));
    let placed = placed["order"].as_i64().unwrap();
    assert_eq!(count(), ROWS + 1, "a placed order can be found at once");
    let search = |query: &str| stage.json(stage.api("/search?q=") + query)["orders"].clone();
    assert_eq!(search(&placed.to_string()), json!([placed]));
    let client = stage.cluster.connect("orders", &stage.world.cx).unwrap();
    let whose = "SELECT c.email, jsonb_agg(o.id ORDER BY o.id DESC) FROM shop.orders o JOIN shop.customers c ON c.id = customer_id \
                 GROUP BY c.email HAVING count(*) < 20 ORDER BY count(*) DESC LIMIT 1";
    let row = stage.world.wait(client.query_one(whose, &[])).unwrap();
    let (email, rows): (String, Value) = (row.get(0), row.get(1));
    let found = search(&email);
    assert!(found[0].is_number());
    assert_eq!(found, rows);

    stage.sql("orders", "DELETE FROM shop.payments; DELETE FROM shop.orders WHERE id > 100");
    assert_eq!(count(), ROWS + 1, "nobody told the index");
    let job = stage.job("/reindex", "job");
    assert_eq!(job, json!({ "state": "done", "documents": 100, "removed": ROWS + 1 - 100 }));
    assert_eq!(count(), 100);
    assert_eq!(search(&placed.to_string()), json!([]));

    stage.sql("orders", "DROP TABLE shop.orders CASCADE");
    let job = stage.job("/reindex", "job");
    assert_eq!(job["state"], "failed");
    assert!(job["reason"].as_str().unwrap().contains("shop.orders"), "{job}");
    assert_eq!(count(), 100, "a failed job leaves the index alone");
    assert_eq!(stage.get(stage.admin("/reindex/0")).0, 404);
    assert_eq!(stage.get(stage.admin("/reindex/99")).0, 404);
}

// D16
#[test]
fn muted_tests_come_back_by_themselves_and_nobody_mutes_for_ever() {
    let stage = Stage::new();
    assert_eq!(stage.json(stage.admin("/tests")), json!({ "muted": false, "expires": null }));
    let (status, muted) = stage.put(stage.admin("/tests/mute"), &json!({ "muted": true, "for": "PT2H" }));
    assert_eq!((status, &muted["muted"]), (200, &json!(true)));
    let expires: Timestamp = muted["expires"].as_str().unwrap().parse().unwrap();
    let minutes = expires.duration_since(Timestamp::now()).as_mins();
    assert!((118..=120).contains(&minutes), "{minutes}");
    assert_eq!(stage.json(stage.admin("/tests")), muted);

    assert_eq!(stage.put(stage.admin("/tests/mute"), &json!({ "muted": false })).1, json!({ "muted": false, "expires": null }));
    for wrong in [json!({ "muted": true }), json!({ "muted": true, "for": "PT48H" }), json!({ "muted": true, "for": "-PT1H" })] {
        assert_eq!(stage.put(stage.admin("/tests/mute"), &wrong).0, 400, "{wrong}");
    }
    assert_eq!(stage.json(stage.admin("/tests"))["muted"], false);

    let (_, muted) = stage.put(stage.admin("/tests/mute"), &json!({ "muted": true, "for": "PT0.3S" }));
    assert_eq!(muted["muted"], true);
    until("the mute has expired", || stage.json(stage.admin("/tests")) == json!({ "muted": false, "expires": null }));
}

#[test]
fn the_sites_tests_pass_only_when_the_site_works() {
    let stage = Stage::new();
    stage.post(stage.api("/orders"));
    assert_eq!(stage.job("/tests/run", "run"), json!({ "state": "done", "passed": 5, "failed": 0, "failures": [] }));

    stage.enter("maintenance");
    let run = stage.job("/tests/run", "run");
    assert_eq!((&run["passed"], &run["failed"]), (&json!(2), &json!(3)), "{run}");
    stage.enter("recovery");
    let run = stage.job("/tests/run", "run");
    assert_eq!((&run["passed"], &run["failed"]), (&json!(4), &json!(1)), "{run}");

    stage.enter("live");
    stage.sql("orders", "DELETE FROM shop.payments; DELETE FROM shop.orders");
    let run = stage.job("/tests/run", "run");
    assert_eq!((&run["passed"], &run["failed"]), (&json!(2), &json!(3)), "{run}");
    assert!(run["failures"].to_string().contains("there are no orders"), "{run}");
}

// D12
#[test]
fn one_holds_the_deploy_lock_at_a_time() {
    let stage = Stage::new();
    let lock = stage.admin("/deploy-lock");
    assert_eq!(stage.json(&lock), json!({ "locked": false, "by": null }));
    assert_eq!(stage.put(&lock, &json!({ "locked": true })).0, 400);
    let ours = json!({ "locked": true, "by": "ada" });
    assert_eq!(stage.put(&lock, &ours), (200, ours.clone()));
    assert_eq!(stage.put(&lock, &json!({ "locked": true, "by": "bob" })).0, 409);
    assert_eq!(stage.put(&lock, &ours), (200, ours.clone()));
    assert_eq!(stage.json(&lock), ours);
    assert_eq!(stage.put(&lock, &json!({ "locked": false, "by": "ada" })).0, 200);
    assert_eq!(stage.json(&lock), json!({ "locked": false, "by": null }));
}

#[test]
fn a_dropped_site_answers_no_more() {
    let stage = Stage::new();
    let www = stage.site.www();
    assert_eq!(stage.get(&www).0, 200);
    let began = Instant::now();
    drop(stage.site);
    assert!(began.elapsed() < Duration::from_secs(1), "an idle visitor held the site up");
    assert!(stage.world.wait(stage.client.get(&www).send()).is_err());
}
