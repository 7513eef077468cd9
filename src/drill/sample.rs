//! The sample production: a shop's database, the same for the same seed, with everything in it that has ever broken a dump.
//!
//! It is made on the server, by `sample/*.sql`, in about three seconds for 200,000 orders. What is in there and why is said there.

use jiff::Timestamp;
use postgres_protocol::escape::escape_identifier;
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::{Client, Config};

use crate::port::Context;
use crate::report::{Explain, Result};
use crate::system::postgres::cluster::{Cluster, connect};

/// The role the site works as.
pub const APP: &str = "shop_app";

/// The table a drill is about.
pub const ORDERS: &str = "shop.orders";

const SERVER: &str = include_str!("sample/server.sql");
const FIRST: &str = include_str!("sample/first.sql");
const NUMBERS: &str = include_str!("sample/numbers.sql");
const CATALOGUE: &str = include_str!("sample/catalogue.sql");
const ORDERS_AND_CUSTOMERS: &str = include_str!("sample/orders.sql");
const LINES_AND_PAYMENTS: &str = include_str!("sample/lines.sql");
const LAST: &str = include_str!("sample/last.sql");

/// What sample is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Rows of `shop.orders`; everything else follows. At least 100 are made.
    pub rows: u32,
    /// The same seed gives the same rows.
    pub seed: u32,
    /// When the newest order was placed, less a minute.
    pub until: Timestamp,
}

impl Sample {
    /// Rows of `shop.orders`.
    pub fn orders(&self) -> u32 {
        self.rows.max(100)
    }

    /// Rows of `shop.customers`.
    pub fn customers(&self) -> u32 {
        self.orders() / 20 + 20
    }

    /// Rows of `catalogue.products`.
    pub fn products(&self) -> u32 {
        (self.orders() / 100).max(20)
    }

    /// Every table, quoted as SQL wants it, with the rows it holds.
    pub fn tables(&self) -> Vec<(&'static str, u64)> {
        let orders = u64::from(self.orders());
        vec![
            ("shop.customers", self.customers().into()),
            ("shop.orders", orders),
            ("shop.order_lines", orders + orders.div_ceil(2)),
            ("shop.payments", orders - orders / 5),
            ("shop.carts", 0),
            ("shop.\"no columns\"", 3),
            ("catalogue.products", self.products().into()),
            ("catalogue.\"Größe & Farbe\"", 3),
            ("catalogue.manuals", 3),
            ("\"Audit Log\".\"what \"\"they\"\" did\"", 40),
            ("\"Audit Log\".\"visits, old\"", 31),
            ("\"Audit Log\".\"visits, new\"", 29),
        ]
    }

    /// Fills the cluster's (empty) database. `password` becomes that of [`APP`].
    pub fn load(&self, cluster: &Cluster, password: &str, cx: &Context) -> Result<()> {
        let owner = cluster.settings(cluster.user(), cluster.password(), cluster.database());
        cx.wait(async {
            let main = connect(&owner).await?;
            // The database's own settings hold from the next connection on.
            run(&main, "the sample's roles", &self.fill(SERVER, password, cluster.database())).await?;
            run(&main, "the sample's tables", FIRST).await?;
            // The two big halves at once: each is one core's work.
            let rows = |script: &str| self.fill(&format!("{NUMBERS}{script}"), "", "");
            tokio::try_join!(
                in_one("the sample's customers and orders", &owner, rows(ORDERS_AND_CUSTOMERS)),
                in_one("the sample's catalogue, order lines and payments", &owner, rows(&format!("{CATALOGUE}{LINES_AND_PAYMENTS}"))),
            )?;
            run(&main, "the sample's keys and indexes", LAST).await
        })
    }

    fn fill(&self, script: &str, password: &str, database: &str) -> String {
        let mut script = script.to_owned();
        for (name, value) in [
            ("{orders}", self.orders().to_string()),
            ("{customers}", self.customers().to_string()),
            ("{products}", self.products().to_string()),
            ("{seed}", self.seed.to_string()),
            ("{until}", self.until.to_string()),
            ("\"{database}\"", escape_identifier(database)),
        ] {
            script = script.replace(name, &value);
        }
        if script.contains("{verifier}") {
            // What the server keeps; the password itself is never in a statement.
            script = script.replace("{verifier}", &scram_sha_256(password.as_bytes()));
        }
        script
    }
}

/// A script of the sample, as one transaction (a simple query of many statements is one).
async fn run(client: &Client, what: &str, script: &str) -> Result<()> {
    client.batch_execute(script).await.explain(|| format!("making {what}"))
}

async fn in_one(what: &str, config: &Config, script: String) -> Result<()> {
    run(&connect(config).await?, what, &script).await
}

/// Places one order, as the site does: the order, a line and its payment. Gives its number.
pub async fn place_order(client: &Client) -> Result<i64> {
    const PLACE: &str = "
        WITH placed AS (
            INSERT INTO shop.orders (customer_id, total)
            SELECT id, 12.50 FROM shop.customers ORDER BY id DESC LIMIT 1
            RETURNING id, total
        ), line AS (
            INSERT INTO shop.order_lines (order_id, line, product_id, quantity, unit_price)
            SELECT placed.id, 1, product.id, 1, placed.total FROM placed, (SELECT min(id) AS id FROM catalogue.products) product
        ), payment AS (
            INSERT INTO shop.payments (order_id, method, amount, paid_at) SELECT id, 'card', total, now() FROM placed
        )
        SELECT id FROM placed";
    let row = client.query_one(PLACE, &[]).await.explain(|| "placing an order".into())?;
    Ok(row.get(0))
}
