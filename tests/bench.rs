//! The bench itself, in small, so that it cannot rot. Its numbers mean nothing here.

#[path = "../benches/contest/mod.rs"]
mod contest;

use contest::{CASES, Options, Results, median, run, table};

#[test]
fn the_bench_runs_every_case_and_its_results_can_be_read_again() {
    let options = Options { mebibytes: 2, rounds: 1, key_bits: 2048, only: String::new(), program: env!("CARGO_BIN_EXE_lifeboat").into() };
    let results = run(&options);
    assert_eq!(results.cases.len(), CASES.len());
    assert!(results.database_bytes > 2 << 20, "{results:?}");
    for case in &results.cases {
        assert!(case.ours > 0.0 && case.theirs > 0.0, "{case:?}");
        if CASES.iter().any(|known| known.name == case.name && known.reads) {
            // One that is over in a moment is hardly seen.
            continue;
        }
        assert!(case.peak_kib > 1000, "{case:?}");
        let limit = case.stock.ends_with("/dev/null");
        assert!(case.rounds.iter().all(|pair| pair.our_bytes > 100_000 && (pair.their_bytes > 100_000) != limit), "{case:?}");
    }
    let again: Results = serde_json::from_str(&serde_json::to_string(&results).unwrap()).unwrap();
    let told = table(&again);
    assert!(CASES.iter().all(|case| told.contains(case.name)) && told.contains("PostgreSQL"), "{told}");
}

#[test]
fn a_median_is_the_middle() {
    assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
    assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
    assert!(median(std::iter::empty()).is_nan());
}
