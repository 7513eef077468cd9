//! `[job.NAME.retention]` and `[job.NAME.replica_retention]`: how long its dumps stay.

use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::pipeline::manifest::Level;
use crate::pipeline::retention::Policy;
use crate::report::written::{Fields, FromToml, Value};

pub(super) fn retention(value: &Value<'_>) -> Option<Policy> {
    let policy = value.table(|fields| {
        let standard = Policy::default();
        let age = fields.take("age").and_then(|value| days(&value));
        let [last, daily, weekly, monthly, yearly] = ["last", "daily", "weekly", "monthly", "yearly"].map(|key| count(fields, key));
        let verified = fields.take("verified").and_then(|value| number(&value)).unwrap_or(standard.verified);
        let proof = fields.take("proof").and_then(|value| value.word(&Level::ALL)).unwrap_or(standard.proof);
        Some(Policy { age, last, daily, weekly, monthly, yearly, verified, proof })
    })?;
    if policy.is_bounded() {
        return Some(policy);
    }
    let problem = value.problem("nothing says how long a dump stays: all but the proven ones would go");
    value.reject(problem.hint("age = \"180d\", or last, daily, weekly, monthly, yearly".to_owned()))
}

/// `[job.NAME.replica_retention]`: the newest stay, without gaps. What is missing between two dumps of a replica is an alarm, not a rule.
pub(super) fn replica_retention(value: &Value<'_>) -> Option<Policy> {
    let policy = retention(value)?;
    if policy.daily + policy.weekly + policy.monthly + policy.yearly == 0 {
        return Some(policy);
    }
    let problem = value.problem("a replica keeps the newest dumps without gaps: one that is missing in between is taken for lost");
    value.reject(problem.hint("age = \"7d\", or last = 7".to_owned()))
}

fn count(fields: &mut Fields<'_>, key: &str) -> usize {
    fields.take(key).and_then(|value| number(&value)).unwrap_or_default()
}

fn number(value: &Value<'_>) -> Option<usize> {
    let number = u64::read(value.clone())?;
    let fits = usize::try_from(number).ok().filter(|number| *number <= 100_000);
    fits.or_else(|| value.reject(value.problem(format!("`{number}` dumps are more than anybody keeps"))))
}

/// `180d`, `26w`, `36h`: a day has 24 hours.
pub(super) fn days(value: &Value<'_>) -> Option<SignedDuration> {
    let text = value.as_str().or_else(|| value.wrong("an age, like \"180d\""))?;
    let span = text.parse::<Span>().ok().filter(|span| span.get_years() == 0 && span.get_months() == 0);
    let time = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()).filter(SignedDuration::is_positive);
    time.or_else(|| value.reject(value.problem("no age").hint("like \"180d\", \"26w\" or \"36h\"".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::diagnostic::Source;
    use crate::report::written;

    fn read(text: &str) -> Result<Policy, String> {
        let source = Source { path: "lifeboat.toml".into(), text: format!("retention = {text}") };
        let outcome = written::read(&source, |fields| fields.must("retention").and_then(|value| retention(&value)));
        let problems: Vec<&str> = outcome.problems.iter().map(|problem| problem.message.as_str()).collect();
        if problems.is_empty() { outcome.value.ok_or_else(String::new) } else { Err(problems.join("; ")) }
    }

    #[test]
    fn ages_are_days_weeks_and_hours() {
        assert_eq!(read("{ age = \"180d\" }").unwrap().age, Some(SignedDuration::from_hours(180 * 24)));
        assert_eq!(read("{ age = \"1w 12h\", verified = 1 }").unwrap().age, Some(SignedDuration::from_hours(7 * 24 + 12)));
        for text in ["\"6 months\"", "\"-3d\"", "\"soon\"", "30"] {
            assert!(read(&format!("{{ age = {text} }}")).is_err(), "{text}: how long is a month?");
        }
    }

    #[test]
    fn a_replica_keeps_its_newest_without_gaps() {
        let source = |text: &str| Source { path: "lifeboat.toml".into(), text: format!("keep = {text}") };
        let problems = |text: &str| {
            let read = written::read(&source(text), |fields| fields.must("keep").and_then(|value| replica_retention(&value)));
            read.problems.iter().map(|problem| problem.message.clone()).collect::<String>()
        };
        assert_eq!(problems("{ age = \"7d\", last = 3 }"), "");
        assert!(problems("{ age = \"7d\", weekly = 3 }").contains("without gaps"));
    }

    #[test]
    fn a_rule_that_keeps_nothing_is_refused() {
        assert!(read("{ verified = 2 }").unwrap_err().contains("nothing says how long"));
        assert!(read("{ dayly = 3 }").unwrap_err().contains("dayly"));
        assert_eq!(read("{ daily = 7, proof = \"L4\" }").unwrap().proof, Level::L4);
    }
}
