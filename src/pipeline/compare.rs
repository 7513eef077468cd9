//! What changed from one dump to the next: tables, rows and bytes out of the manifests; columns and statements out of the dumps themselves.
//!
//! Rows are counted and hashed. Dumps of earlier versions have no hashes: with the same numbers they may hold other values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use similar::TextDiff;

use super::inspect::outline::{Column, Outline};
use super::manifest::{Manifest, SchemaCount, TableCount};

/// Lines of a statement around one that changed.
const AROUND: usize = 3;

/// How long the best way to tell the difference is looked for; after that a longer one is good enough.
const PATIENCE: Duration = Duration::from_secs(5);

/// What changed. Everything that did not is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Tables that came, went or have other rows, by name.
    pub tables: Vec<TableChange>,
    /// What else is counted: the word, before and after.
    pub schema: Vec<(&'static str, u64, u64)>,
    /// The statements that make the schema, as a unified difference; nothing where they are the same or were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statements: Option<String>,
}

/// What became of one table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableChange {
    /// As PostgreSQL prints it.
    pub table: String,
    /// Before; none where the table is new.
    pub old: Option<TableCount>,
    /// After; none where it is gone.
    pub new: Option<TableCount>,
    /// Columns that came, went or have another type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnChange>,
}

impl TableChange {
    /// As many rows as before, and other ones; as far as both dumps have hashes.
    pub fn has_other_rows(&self) -> bool {
        let counts = self.old.zip(self.new);
        counts.is_some_and(|(old, new)| old.rows == new.rows && old.xxh3.zip(new.xxh3).is_some_and(|(old, new)| old != new))
    }
}

/// What became of one column: its type before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnChange {
    /// As PostgreSQL prints it.
    pub column: String,
    /// Before; none where the column is new.
    pub old: Option<String>,
    /// After; none where it is gone.
    pub new: Option<String>,
}

impl Difference {
    /// Nothing changed that was looked at.
    pub fn is_none(&self) -> bool {
        *self == Difference::default()
    }
}

/// Compares two dumps by their manifests, and by what was read of them where that is given.
pub fn compare(old: &Manifest, new: &Manifest, read: Option<(&Outline, &Outline)>) -> Difference {
    let names: BTreeSet<&String> = old.tables.keys().chain(new.tables.keys()).collect();
    let change = |name: &String| {
        let (before, after) = (old.tables.get(name).copied(), new.tables.get(name).copied());
        let columns = read.map_or_else(Vec::new, |(old, new)| columns(old.tables.get(name), new.tables.get(name)));
        let same = match (&before, &after) {
            (Some(before), Some(after)) => before.agrees(after),
            _ => false,
        };
        (!same || !columns.is_empty()).then(|| TableChange { table: name.clone(), old: before, new: after, columns })
    };
    let text = |(before, after): (&Outline, &Outline)| {
        unified((&old.object, &before.statements), (&new.object, &after.statements), before.cut || after.cut)
    };
    Difference {
        tables: names.into_iter().filter_map(change).collect(),
        schema: schema(&old.schema, &new.schema),
        statements: read.and_then(text),
    }
}

fn schema(old: &SchemaCount, new: &SchemaCount) -> Vec<(&'static str, u64, u64)> {
    let pairs = [
        ("constraints", old.constraints, new.constraints),
        ("indexes", old.indexes, new.indexes),
        ("views", old.views, new.views),
        ("sequences", old.sequences, new.sequences),
        ("triggers", old.triggers, new.triggers),
        ("large objects", old.large_objects, new.large_objects),
        ("roles", old.roles, new.roles),
        ("tablespaces", old.tablespaces, new.tablespaces),
    ];
    pairs.into_iter().filter(|(_, old, new)| old != new).collect()
}

/// Of a table that was and is there; all columns of one that came or went came or went with it.
fn columns(old: Option<&Vec<Column>>, new: Option<&Vec<Column>>) -> Vec<ColumnChange> {
    let (Some(old), Some(new)) = (old, new) else { return Vec::new() };
    let kinds = |columns: &[Column]| columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (kinds(old), kinds(new));
    // In the order they stand in the newer one, then those that are gone.
    let gone = old.iter().filter(|column| !after.contains_key(&column.name));
    let change = |column: &Column| ColumnChange {
        column: column.name.clone(),
        old: before.get(&column.name).cloned(),
        new: after.get(&column.name).cloned(),
    };
    new.iter().chain(gone).map(change).filter(|change| change.old != change.new).collect()
}

fn unified((old, before): (&str, &str), (new, after): (&str, &str), cut: bool) -> Option<String> {
    if before == after {
        return None;
    }
    let difference = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    let text = difference.unified_diff().context_radius(AROUND).header(old, new).to_string();
    Some(if cut { format!("{text}\\ there are more statements than are compared\n") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::inspect::outline::Wish;

    fn outline(tables: &[(&str, &[(&str, &str)])], statements: &str) -> Outline {
        let columns = |columns: &[(&str, &str)]| {
            columns.iter().map(|(name, kind)| Column { name: (*name).into(), kind: (*kind).into() }).collect::<Vec<_>>()
        };
        let tables = tables.iter().map(|(name, own)| ((*name).to_owned(), columns(own))).collect();
        let mut outline = Outline::of(Wish::default());
        (outline.tables, outline.statements) = (tables, statements.into());
        outline
    }

    #[test]
    fn columns_that_came_went_or_have_another_type_are_told() {
        let old = outline(&[("a", &[("id", "integer"), ("name", "text"), ("gone", "date")])], "");
        let new = outline(&[("a", &[("id", "bigint"), ("name", "text"), ("born", "date")])], "");
        let told: Vec<(String, Option<String>, Option<String>)> =
            columns(old.tables.get("a"), new.tables.get("a")).into_iter().map(|change| (change.column, change.old, change.new)).collect();
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            ("id".to_owned(), text("integer"), text("bigint")),
            ("born".to_owned(), None, text("date")),
            ("gone".to_owned(), text("date"), None),
        ];
        assert_eq!(told, expected);
        assert!(columns(None, new.tables.get("a")).is_empty());
    }

    #[test]
    fn statements_are_compared_line_by_line() {
        assert_eq!(unified(("a", "x;\ny;\n"), ("b", "x;\ny;\n"), false), None);
        let told = unified(("a", "x;\ny;\n"), ("b", "x;\nz;\n"), true).unwrap();
        assert_eq!(told, "--- a\n+++ b\n@@ -1,2 +1,2 @@\n x;\n-y;\n+z;\n\\ there are more statements than are compared\n");
    }
}
