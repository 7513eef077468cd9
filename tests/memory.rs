//! Memory is bounded, whatever the size. // D4

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lifeboat::drill::{BoxOptions, TheBox};
use lifeboat::port::Context;
use lifeboat::report::Report;

use crate::stage::runtime;

/// What our process may hold at most, in KiB.
const LIMIT: u64 = 128 << 10;

/// MiB of text that hardly compresses, so that the upload has many parts; `LIFEBOAT_MEMORY_MIB=4096` for a long look.
const MEBIBYTES: u32 = 192;

#[test]
fn a_backup_a_proof_and_a_restore_stay_under_128_mib() {
    let runtime = runtime();
    let cx = Context::new(runtime.handle().clone());
    let the_box = TheBox::start(&BoxOptions { rows: 500, key_bits: 2048, ..BoxOptions::default() }, &cx).unwrap();
    let size = std::env::var("LIFEBOAT_MEMORY_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(MEBIBYTES);
    let client = the_box.cluster().connect("orders", &cx).unwrap();
    // 32 rows of 32 KiB a MiB: hashes in hex, which gzip halves at best.
    let fill = format!(
        "CREATE TABLE shop.ballast AS SELECT n, (SELECT string_agg(md5(n::text || m::text), '') FROM generate_series(1, 1024) m) AS text \
         FROM generate_series(1, {size} * 32) n"
    );
    cx.wait(async { client.batch_execute(&fill).await.map_err(|error| Report::failed(error.to_string())) }).unwrap();
    for words in [&["backup", "orders"][..], &["verify", "latest"], &["peek", "latest"], &["restore", "latest", "--into", "copy"]] {
        let peak = peak_of(Command::new(program()).arg("--config").arg(the_box.config_path()).args(words));
        println!("{words:?}: {} MiB at most", peak >> 10);
        assert!(peak < LIMIT, "{words:?} held {peak} KiB");
    }
}

/// MiB of a stream that no database has to hold; `LIFEBOAT_STREAM_MIB=10240` for a long look.
const STREAM_MEBIBYTES: u32 = 256;

/// In the place of pg_dump: a dump of one table of noise, as long as wanted.
const STREAM: &str = r#"#!/bin/sh
case "$*" in *--version*) exec REAL/pg_dump --version ;; esac
printf -- '--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.noise (\n    word text\n);\n\nCOPY public.noise (word) FROM stdin;\n'
openssl enc -aes-128-ctr -nosalt -pass pass:noise -md sha256 -in /dev/zero 2>/dev/null | base64 -w 127 | head -c $((BYTES / 128 * 128))
printf '\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n'
"#;

#[test]
fn a_stream_of_any_length_is_stored_and_proven_under_128_mib() {
    let runtime = runtime();
    let cx = Context::new(runtime.handle().clone());
    let the_box = TheBox::start(&BoxOptions { rows: 500, key_bits: 2048, ..BoxOptions::default() }, &cx).unwrap();
    let size: u64 = std::env::var("LIFEBOAT_STREAM_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(STREAM_MEBIBYTES.into());
    let bin = the_box.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let config = std::fs::read_to_string(the_box.config_path()).unwrap();
    let real = config.lines().find_map(|line| line.strip_prefix("bin = \"")?.strip_suffix('"')).unwrap();
    std::fs::write(bin.join("pg_dump"), STREAM.replace("REAL", real).replace("BYTES", &(size << 20).to_string())).unwrap();
    std::fs::set_permissions(bin.join("pg_dump"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = config.replace(&format!("bin = \"{real}\""), &format!("bin = {:?}", bin.display().to_string()));
    for compression in ["gzip", "zstd"] {
        std::fs::write(the_box.config_path(), config.replace("\"gzip\"", &format!("{compression:?}"))).unwrap();
        for words in [&["backup", "orders"][..], &["verify", "latest", "--level", "L4"]] {
            let peak = peak_of(Command::new(program()).arg("--config").arg(the_box.config_path()).args(words));
            println!("{compression}, {size} MiB, {words:?}: {} MiB at most", peak >> 10);
            assert!(peak < LIMIT, "{compression}: {words:?} held {peak} KiB");
        }
    }
}

/// What is looked at: the program of this build, or the one that `LIFEBOAT_MEMORY_PROGRAM` names.
fn program() -> PathBuf {
    std::env::var_os("LIFEBOAT_MEMORY_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_lifeboat").into(), PathBuf::from)
}

/// The most resident memory the process ever had, in KiB (`VmHWM` of proc(5)); it must end well.
fn peak_of(command: &mut Command) -> u64 {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let seen = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        peak = peak.max(seen.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
            assert!(ended.success(), "{said}");
            assert!(peak > 0, "its memory was never seen");
            return peak;
        }
        // The high-water mark only grows: what is missed between two looks is seen by the next, the last moments apart.
        thread::sleep(Duration::from_millis(20));
    }
}
