//! Statistics for the planner, over several connections at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;

use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::{Explain, Result};

/// What a plain `ANALYZE` would look at, the largest first. A partitioned table takes its partitions along.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND NOT c.relisshared AND c.relpersistence <> 't'
    ORDER BY c.relkind = 'p' DESC, pg_relation_size(c.oid) DESC";

impl Postgres {
    /// Makes statistics of every table of `database`.
    pub(super) fn analyse(&self, database: &str, cx: &Context) -> Result<()> {
        let began = Instant::now();
        let several = self.hands(cx)?;
        cx.wait(async {
            let client = self.connect(database, cx).await?;
            let rows = client.query(TABLES, &[]).await.map_err(|error| explain_sql(&error, database))?;
            let tables: Arc<Mutex<VecDeque<String>>> = Arc::new(Mutex::new(rows.iter().map(|row| row.get(0)).collect()));
            let mut workers = JoinSet::new();
            for _ in 0..several.min(rows.len()) {
                let (client, tables, database) = (self.connect(database, cx).await?, Arc::clone(&tables), database.to_owned());
                workers.spawn(async move {
                    let next = || tables.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    while let Some(table) = next() {
                        client.batch_execute(&format!("ANALYZE {table}")).await.map_err(|error| explain_sql(&error, &database))?;
                    }
                    Ok(())
                });
            }
            // Dropping the others, where one fails, ends them.
            while let Some(worker) = workers.join_next().await {
                worker.explain(|| format!("analysing {database:?}"))??;
            }
            Ok(())
        })?;
        cx.log.say("restore", &format!("analysed in {:.1} s, {several} at a time", began.elapsed().as_secs_f64()));
        Ok(())
    }
}
