//! The site's connection to its database: made again when it broke, always to whatever bears the name now.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row};

use crate::report::{Explain, Report, Result};
use crate::system::postgres::cluster::connect;

/// How long a visitor waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Base {
    config: Config,
    client: Mutex<Option<Arc<Client>>>,
}

impl Base {
    pub(super) fn new(config: Config) -> Base {
        Base { config, client: Mutex::new(None) }
    }

    /// The connection, made anew if there is none that lives.
    pub(super) async fn client(&self) -> Result<Arc<Client>> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(connect(&self.config).await?);
        *kept = Some(Arc::clone(&client));
        Ok(client)
    }

    /// One of its own, for long work.
    pub(super) async fn another(&self) -> Result<Client> {
        connect(&self.config).await
    }

    /// Asks for one row, and may ask twice: when the connection turns out to be gone, once more on a new one.
    pub(super) async fn ask(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        let asked = async {
            let client = self.client().await?;
            match client.query_one(sql, parameters).await {
                Err(_) if client.is_closed() => self.client().await?.query_one(sql, parameters).await,
                answer => answer,
            }
            .explain(|| "asking the site's database".into())
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Report::failed(format!("the database does not answer within {} s", PATIENCE.as_secs()))),
        }
    }
}
