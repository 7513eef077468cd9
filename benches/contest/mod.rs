//! The contest: a throwaway production, a list of cases, each of them ours against theirs, run in turns.
//!
//! Turns, because a machine is never the same for two minutes: what is compared ran side by side, and a ratio is one of such a pair.

mod cases;
mod field;

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cases::CASES;
use field::{Field, Took};

/// What is to be run.
pub struct Options {
    /// Size of the database, indexes included.
    pub mebibytes: u32,
    /// Pairs of each case.
    pub rounds: u32,
    /// Of the key.
    pub key_bits: u32,
    /// The beginning of the names of the cases that run.
    pub only: String,
    /// The program.
    pub program: std::path::PathBuf,
}

/// What came out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// When it began, RFC 3339.
    pub at: String,
    /// The processor, how many of them, and the versions of all programs.
    pub machine: Vec<String>,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// One for each case.
    pub cases: Vec<CaseResult>,
}

/// One case.
#[derive(Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// The stock chain.
    pub stock: String,
    /// What is wanted of theirs / ours.
    pub at_least: f64,
    /// What is wanted of our bytes / theirs.
    pub bytes_at_most: Option<f64>,
    /// Pair by pair.
    pub rounds: Vec<Pair>,
    /// Median seconds of ours.
    pub ours: f64,
    /// Median seconds of theirs.
    pub theirs: f64,
    /// Median of theirs / ours, pair by pair: how many times faster.
    pub faster: f64,
    /// The most resident memory ours ever had, in KiB.
    pub peak_kib: u64,
}

/// Ours and theirs, one after the other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Seconds.
    pub ours: f64,
    /// Seconds.
    pub theirs: f64,
    /// Bytes of what ours left.
    pub our_bytes: u64,
    /// Bytes of what theirs left; none where it went to /dev/null.
    pub their_bytes: u64,
}

/// Makes the production, runs every case, takes everything down again.
pub fn run(options: &Options) -> Results {
    let field = Field::lay(options);
    let at = jiff::Timestamp::now().to_string();
    let database_bytes = field.database_bytes();
    let mut cases = Vec::new();
    let meant = || CASES.iter().filter(|case| case.name.starts_with(&options.only));
    if meant().any(|case| case.reads) {
        field.fill_the_shelf();
    }
    for case in meant() {
        let mut rounds = Vec::new();
        let mut peak_kib = 0;
        for round in 0..options.rounds {
            // Who goes first changes, so that neither always has the other's warm caches.
            let (ours, theirs) = if round % 2 == 0 {
                let ours = field.ours(case);
                (ours, field.theirs(case))
            } else {
                let theirs = field.theirs(case);
                (field.ours(case), theirs)
            };
            peak_kib = peak_kib.max(ours.peak_kib);
            let pair = pair(&ours, &theirs);
            println!("{:<18} {:>6.2} s, stock {:>6.2} s", case.name, pair.ours, pair.theirs);
            rounds.push(pair);
        }
        cases.push(CaseResult {
            name: case.name.into(),
            stock: case.stock.into(),
            at_least: case.at_least,
            bytes_at_most: case.bytes_at_most,
            ours: median(rounds.iter().map(|pair| pair.ours)),
            theirs: median(rounds.iter().map(|pair| pair.theirs)),
            faster: median(rounds.iter().map(|pair| pair.theirs / pair.ours)),
            rounds,
            peak_kib,
        });
    }
    Results { at, machine: field.machine(), database_bytes, cases }
}

fn pair(ours: &Took, theirs: &Took) -> Pair {
    let seconds = |time: Duration| time.as_secs_f64();
    Pair { ours: seconds(ours.time), theirs: seconds(theirs.time), our_bytes: ours.bytes, their_bytes: theirs.bytes }
}

/// The middle one; of an even number the mean of the two in the middle. Not a number where there is none.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

impl CaseResult {
    /// Median of our bytes / theirs, where theirs left any.
    pub fn bytes(&self) -> Option<f64> {
        let ratio = median(self.rounds.iter().filter(|pair| pair.their_bytes > 0).map(|pair| ratio(pair.our_bytes, pair.their_bytes)));
        (!ratio.is_nan()).then_some(ratio)
    }

    /// Everything that is wanted of it was reached.
    pub fn met(&self) -> bool {
        let small = self.bytes_at_most.is_none_or(|most| self.bytes().is_some_and(|bytes| bytes <= most));
        self.faster >= self.at_least && small && self.peak_kib < 128 << 10
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// For people.
pub fn table(results: &Results) -> String {
    let mut text = results.machine.join("\n");
    write!(text, "\ndatabase of {} MiB, {}\n\n", results.database_bytes >> 20, results.at).ok();
    let heads = ["case", "ours s", "stock s", "faster", "wanted", "bytes", "at most", "MiB", ""];
    let row = |cells: [String; 9]| {
        let [name, ours, theirs, faster, wanted, bytes, most, peak, met] = cells;
        format!("{name:<18} {ours:>7} {theirs:>8} {faster:>7} {wanted:>7} {bytes:>6} {most:>8} {peak:>5}  {met}\n")
    };
    text += &row(heads.map(str::to_owned));
    for case in &results.cases {
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        text += &row([
            case.name.clone(),
            number(Some(case.ours)),
            number(Some(case.theirs)),
            number(Some(case.faster)),
            number(Some(case.at_least)),
            number(case.bytes()),
            number(case.bytes_at_most),
            (case.peak_kib >> 10).to_string(),
            if case.met() { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    text.push('\n');
    for case in &results.cases {
        writeln!(text, "{:<18} stock: {}", case.name, case.stock).ok();
    }
    text
}
