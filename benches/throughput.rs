//! `make bench`: Lifeboat against the chains of stock tools that people use instead, as whole processes, in one run on one machine.
//!
//! `LIFEBOAT_BENCH_MIB` is the size of the database (1024), `LIFEBOAT_BENCH_ROUNDS` how often each pair runs (5), `LIFEBOAT_BENCH_JSON` where
//! the results go (`target/bench.json`), `LIFEBOAT_BENCH_ONLY` the beginning of the names of the cases that run. How to read it, and what
//! was found: `benches/README.md`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may stop at once, and its result is what it prints")]

mod contest;

use std::path::PathBuf;

use contest::{Options, run, table};

fn main() {
    let number = |name: &str, otherwise: u32| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let options = Options {
        mebibytes: number("LIFEBOAT_BENCH_MIB", 1024),
        rounds: number("LIFEBOAT_BENCH_ROUNDS", 5),
        key_bits: 4096,
        only: std::env::var("LIFEBOAT_BENCH_ONLY").unwrap_or_default(),
        program: env!("CARGO_BIN_EXE_lifeboat").into(),
    };
    let file = std::env::var_os("LIFEBOAT_BENCH_JSON").map_or_else(|| PathBuf::from("target/bench.json"), PathBuf::from);
    let results = run(&options);
    std::fs::write(&file, serde_json::to_string_pretty(&results).unwrap()).unwrap();
    println!("\n{}\nin full: {}", table(&results), file.display());
}
