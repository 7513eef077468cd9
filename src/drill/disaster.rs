//! What happens to the box, and how much of it was lost in the end.
//!
//! The truth is taken in the same transaction that does the damage, so that not one order falls between the two. What a restore brought
//! back is then compared with it, order by order: a measured loss, not an estimated one.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, GenericClient};

use crate::report::{Explain, Report, Result};

/// What can happen. A new one is a line in each match below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// A clean-up whose `WHERE` was forgotten: no order is left, nor what belonged to one.
    DeletedOrders,
    /// A migration that dropped the wrong table, with everything that refers to it.
    DroppedTable,
    /// An update whose `WHERE` was forgotten: all orders are there, and all are wrong.
    WrongUpdate,
}

impl Scenario {
    /// All there are; the first is the default.
    pub const ALL: [Scenario; 3] = [Scenario::DeletedOrders, Scenario::DroppedTable, Scenario::WrongUpdate];

    /// What people type.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::DeletedOrders => "deleted-orders",
            Scenario::DroppedTable => "dropped-table",
            Scenario::WrongUpdate => "wrong-update",
        }
    }

    /// The one with that name.
    pub fn named(name: &str) -> Result<Scenario> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Scenario::name);
            let near = known.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            let hint = near.filter(|near| strsim::jaro_winkler(near, name) > 0.8).map(|near| format!("did you mean {near}?"));
            Report::usage(format!("there is no scenario {name:?}")).hint(hint.unwrap_or_else(|| format!("there are {}", known.join(", "))))
        })
    }

    /// What happened, in the words of whoever calls you at night.
    pub fn story(self) -> &'static str {
        match self {
            Scenario::DeletedOrders => "A clean-up script ran without its WHERE: every order is gone, with its lines and its payment.",
            Scenario::DroppedTable => "A migration dropped shop.orders CASCADE on production instead of staging.",
            Scenario::WrongUpdate => "An UPDATE without WHERE: every order is cancelled and costs nothing.",
        }
    }

    fn damage(self) -> &'static str {
        match self {
            // Nothing refers to an order any more by then, so that the 200,000 times it would be looked for are left out: in `replica`
            // foreign keys are not checked. That is for the impatient; what is gone is the same.
            Scenario::DeletedOrders => {
                "DELETE FROM shop.payments; DELETE FROM shop.order_lines; \
                 SET LOCAL session_replication_role = replica; DELETE FROM shop.orders"
            }
            Scenario::DroppedTable => "SET LOCAL client_min_messages = error; DROP TABLE shop.orders CASCADE",
            Scenario::WrongUpdate => "UPDATE shop.orders SET status = 'cancelled', total = 0",
        }
    }
}

/// What there was when the disaster struck.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What happened.
    pub scenario: Scenario,
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// Number → the order.
    orders: BTreeMap<i64, Order>,
}

/// What is remembered of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    /// Microseconds since 1970.
    placed: i64,
    /// The server's hash of the whole row.
    hash: i64,
}

/// What a restore did not bring back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Orders that are not there.
    pub rows: u64,
    /// Orders that are there and are not what they were.
    pub changed: u64,
    /// When the oldest of them was placed: the data are good up to here.
    pub since: Option<Timestamp>,
    /// From then until the disaster; zero where nothing was lost.
    pub window: SignedDuration,
}

impl Truth {
    /// How many orders there were.
    pub fn rows(&self) -> u64 {
        self.orders.len() as u64
    }

    /// Adds the orders of a database that were placed since: those a visitor placed while the site was still taking them.
    /// Orders that are known are left as they were before the disaster.
    pub async fn remember(&mut self, damaged: &mut Client) -> Result<()> {
        let transaction = damaged.transaction().await.explain(|| "looking at the damaged orders".into())?;
        for (id, order) in read(&transaction).await? {
            self.orders.entry(id).or_insert(order);
        }
        Ok(())
    }

    /// Compares what is there now with what was there.
    pub async fn lost_after(&self, restored: &mut Client) -> Result<Loss> {
        let transaction = restored.transaction().await.explain(|| "looking at the restored orders".into())?;
        let now = read(&transaction).await?;
        let mut loss = Loss::default();
        let mut oldest = i64::MAX;
        for (id, order) in &self.orders {
            match now.get(id) {
                Some(found) if found == order => continue,
                Some(_) => loss.changed += 1,
                None => loss.rows += 1,
            }
            oldest = oldest.min(order.placed);
        }
        if loss.rows + loss.changed > 0 {
            let since = Timestamp::from_microsecond(oldest).explain(|| "reading when an order was placed".into())?;
            loss.since = Some(since);
            loss.window = self.at.duration_since(since).max(SignedDuration::ZERO);
        }
        Ok(loss)
    }
}

/// Takes the truth and does the damage, both in one transaction that keeps everybody else from writing orders.
pub async fn strike(scenario: Scenario, database: &mut Client) -> Result<Truth> {
    let what = || format!("the disaster {}", scenario.name());
    let transaction = database.transaction().await.explain(what)?;
    transaction.batch_execute("LOCK TABLE shop.orders IN SHARE ROW EXCLUSIVE MODE").await.explain(what)?;
    let orders = read(&transaction).await?;
    transaction.batch_execute(scenario.damage()).await.explain(what)?;
    transaction.commit().await.explain(what)?;
    Ok(Truth { scenario, at: Timestamp::now(), orders })
}

/// All orders. As arrays, because two hundred thousand rows one by one are slow to take apart.
async fn read(client: &impl GenericClient) -> Result<BTreeMap<i64, Order>> {
    const ORDERS: &str = "
        SELECT coalesce(array_agg(id ORDER BY id), '{}'),
               coalesce(array_agg((extract(epoch FROM placed_at) * 1000000)::bigint ORDER BY id), '{}'),
               coalesce(array_agg(hashtextextended(o::text, 0) ORDER BY id), '{}')
        FROM shop.orders o";
    let reading = || "reading shop.orders".to_owned();
    // The text of a row depends on these two, and a restored database may not have the settings of the old one.
    client.batch_execute("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'").await.explain(reading)?;
    let row = client.query_one(ORDERS, &[]).await.explain(reading)?;
    let (ids, placed, hashes): (Vec<i64>, Vec<i64>, Vec<i64>) = (row.get(0), row.get(1), row.get(2));
    let orders = placed.into_iter().zip(hashes).map(|(placed, hash)| Order { placed, hash });
    Ok(ids.into_iter().zip(orders).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_found_by_name_and_a_mistyped_one_is_suggested() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()).unwrap(), scenario);
            assert_eq!(serde_json::to_value(scenario).unwrap(), scenario.name());
        }
        let report = Scenario::named("delete-orders").unwrap_err();
        assert_eq!(report.hints, ["did you mean deleted-orders?"]);
        let report = Scenario::named("flood").unwrap_err();
        assert_eq!(report.hints, ["there are deleted-orders, dropped-table, wrong-update"]);
    }
}
