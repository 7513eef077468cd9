//! One suite for every store. A store that is to be trusted with dumps gives a [`Rig`] and passes all of it:
//! `conformance!(on_garage, garage::rig)` makes one test of each function here, run on what `garage::rig()` gives.
//!
//! Nothing here knows which store it is: what a store cannot do is said by [`Can`], and what it does instead is asserted.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lifeboat::port::{Context, Store, Stream};
use lifeboat::report::{Kind, Report};

pub const MIB: usize = 1 << 20;
/// The smallest part S3 takes; what the settings of an S3 rig must say too.
pub const PART: usize = 5 * MIB;

/// What not every store can do.
#[derive(Clone, Copy)]
pub struct Can {
    /// Of writers at the same moment one wins, because the store refuses the others.
    pub refuse_to_replace: bool,
    /// Uploads that were begun and left can be listed.
    pub list_uploads: bool,
}

/// A store, empty, and what it lives on.
pub struct Rig {
    pub store: Box<dyn Store>,
    pub cx: Context,
    pub can: Can,
    /// Behind the store's back: how many bytes, files or parts lie there that nobody names. 0 where one cannot look.
    pub orphans: Box<dyn Fn() -> usize + Send + Sync>,
    /// Servers, directories, runtimes: whatever must live as long.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Rig {
    /// The same work, not yet cancelled.
    pub fn fresh(&self) -> Context {
        Context::new(self.cx.runtime.clone())
    }

    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<u64, Report> {
        self.store.put(key, body(bytes), &self.cx).map(|object| object.size)
    }

    pub fn get(&self, key: &str) -> Vec<u8> {
        read(self.store.get(key, None, &self.cx).unwrap())
    }

    /// What a store keeps for itself is not the suite's.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let objects = self.store.list(prefix, &self.fresh()).unwrap().into_iter();
        objects.map(|object| object.key).filter(|key| !key.starts_with(".lifeboat/")).collect()
    }

    /// Neither an object nor a part of one.
    pub fn assert_nothing_is_left(&self) {
        assert_eq!(self.keys(""), [""; 0]);
        self.assert_nothing_is_unfinished();
        // The server may still be bringing to the disk what it received last, and only then see that nobody wants it.
        let until = Instant::now() + Duration::from_secs(20);
        while (self.orphans)() > 0 {
            assert!(Instant::now() < until, "bytes nobody names");
            std::thread::yield_now();
        }
    }

    pub fn assert_nothing_is_unfinished(&self) {
        if self.can.list_uploads {
            assert_eq!(self.store.unfinished(&self.fresh()).unwrap(), []);
        }
    }
}

pub fn body(bytes: &[u8]) -> Stream {
    Box::new(Cursor::new(bytes.to_vec()))
}

pub fn read(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes that are not the same anywhere, so that parts in the wrong order are seen.
pub fn pattern(size: usize) -> Vec<u8> {
    (0u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(size).collect()
}

/// Gives `bytes`, telling `watch` before each read how many were read so far.
struct Watched<F> {
    bytes: Cursor<Vec<u8>>,
    watch: F,
}

impl<F: FnMut(usize) -> io::Result<()>> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.watch)(usize::try_from(self.bytes.position()).unwrap())?;
        let limit = buffer.len().min(MIB);
        self.bytes.read(&mut buffer[..limit])
    }
}

pub fn watched(bytes: Vec<u8>, watch: impl FnMut(usize) -> io::Result<()> + Send + 'static) -> Stream {
    Box::new(Watched { bytes: Cursor::new(bytes), watch })
}

/// Gives `size` bytes, then what a dying source gives.
pub fn dying(size: usize) -> Stream {
    watched(pattern(size + 1), move |at| if at >= size { Err(Report::failed("pg_dump exited with 1").into()) } else { Ok(()) })
}

/// `conformance!(on_a_store, path::to::rig)`: each function below as a test of the store that `rig() -> Rig` gives.
macro_rules! conformance {
    ($module:ident, $rig:path) => {
        $crate::store::conformance::each_test!(
            $module,
            $rig,
            what_was_put_comes_back,
            a_range_gives_exactly_its_bytes,
            what_is_not_there_is_told_apart,
            a_listing_of_more_than_a_page_is_complete_and_sorted,
            an_existing_key_is_never_replaced,
            a_key_that_comes_to_be_meanwhile_is_not_replaced,
            of_sixteen_writers_exactly_one_wins,
            a_body_that_fails_leaves_nothing,
            a_large_body_that_fails_leaves_nothing,
            a_put_cancelled_on_its_way_leaves_nothing,
            odd_keys_go_there_and_back,
            keys_that_leave_the_store_are_refused,
            deleting_twice_is_not_an_error,
            a_large_object_goes_there_and_back,
            a_reader_can_be_cancelled,
        );
    };
}
macro_rules! each_test {
    ($module:ident, $rig:path, $($name:ident),* $(,)?) => {
        mod $module {
            use super::*;
            $(#[test] fn $name() { $crate::store::conformance::$name(&$rig()); })*
        }
    };
}
pub(crate) use {conformance, each_test};

pub fn what_was_put_comes_back(rig: &Rig) {
    for size in [0, 1, 1000, 3 * MIB, PART] {
        let (key, bytes) = (format!("of/{size}"), pattern(size));
        let object = rig.store.put(&key, body(&bytes), &rig.cx).unwrap();
        assert_eq!((object.key.as_str(), object.size), (key.as_str(), size as u64));
        assert!(rig.get(&key) == bytes, "{size} bytes");
        assert_eq!(rig.store.head(&key, &rig.cx).unwrap(), Some(object));
    }
}

pub fn a_range_gives_exactly_its_bytes(rig: &Rig) {
    let bytes = pattern(100_000);
    rig.put("a", &bytes).unwrap();
    for range in [0..1, 0..100_000, 5..10, 65_536..65_537, 99_999..100_000, 7..7, 100_000..100_000] {
        let expected = &bytes[range.clone()];
        let range = range.start as u64..range.end as u64;
        assert!(read(rig.store.get("a", Some(range.clone()), &rig.cx).unwrap()) == expected, "{range:?}");
    }
    let beyond = read(rig.store.get("a", Some(99_990..200_000), &rig.cx).unwrap());
    assert!(beyond == bytes[99_990..], "what is beyond the end is not there");
    let nothing = rig.store.get("a", Some(100_001..100_002), &rig.cx).err().unwrap();
    assert_eq!(nothing.kind, Kind::Refused);
}

pub fn what_is_not_there_is_told_apart(rig: &Rig) {
    assert_eq!(rig.store.head("none", &rig.cx).unwrap(), None);
    assert_eq!(rig.store.list("", &rig.cx).unwrap(), []);
    for range in [None, Some(0..5), Some(0..0)] {
        let report = rig.store.get("none", range, &rig.cx).err().unwrap();
        assert_eq!((report.kind, report.message.contains("there is no none")), (Kind::Refused, true), "{report}");
    }
    rig.put("some", b"1").unwrap();
    assert_eq!(rig.store.head("some/thing", &rig.cx).unwrap(), None);
}

pub fn a_listing_of_more_than_a_page_is_complete_and_sorted(rig: &Rig) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let n @ 0..1005 = next.fetch_add(1, Ordering::Relaxed) {
                    rig.put(&format!("many/{n:04}"), b"x").unwrap();
                }
            });
        }
    });
    rig.put("many-more", b"xy").unwrap();
    let expected: Vec<String> = (0..1005).map(|n| format!("many/{n:04}")).collect();
    assert_eq!(rig.keys("many/"), expected);
    assert_eq!(rig.keys("many"), [vec!["many-more".into()], expected].concat());
    assert_eq!(rig.keys("many/0999"), ["many/0999"]);
    assert_eq!(rig.keys("None"), [""; 0]);
    assert_eq!(rig.store.list("many-", &rig.cx).unwrap()[0].size, 2);
}

pub fn an_existing_key_is_never_replaced(rig: &Rig) {
    rig.put("a", b"first").unwrap();
    let report = rig.put("a", b"second").unwrap_err();
    assert_eq!((report.kind, report.message.contains("a exists already")), (Kind::Refused, true), "{report}");
    assert_eq!(rig.get("a"), b"first");
}

/// The question "is it there?" was asked long before the upload is completed: it must be asked again in the same breath.
pub fn a_key_that_comes_to_be_meanwhile_is_not_replaced(rig: &Rig) {
    for size in [10, PART + 10] {
        let key = format!("of/{size}");
        std::thread::scope(|scope| {
            let (begun, wait_begun) = std::sync::mpsc::channel();
            let (done, wait_done) = std::sync::mpsc::channel();
            let late = {
                let key = key.clone();
                scope.spawn(move || {
                    let body = watched(pattern(size), move |at| {
                        if at == 0 {
                            begun.send(()).unwrap();
                            wait_done.recv().unwrap();
                        }
                        Ok(())
                    });
                    rig.store.put(&key, body, &rig.cx)
                })
            };
            wait_begun.recv().unwrap();
            rig.put(&key, b"quick").unwrap();
            done.send(()).unwrap();
            let report = late.join().unwrap().unwrap_err();
            assert_eq!((report.kind, report.message.contains("exists already")), (Kind::Refused, true), "{report}");
        });
        assert_eq!(rig.get(&key), b"quick");
        rig.assert_nothing_is_unfinished();
    }
}

pub fn of_sixteen_writers_exactly_one_wins(rig: &Rig) {
    let barrier = std::sync::Barrier::new(16);
    let outcomes: Vec<(u8, Result<u64, Report>)> = std::thread::scope(|scope| {
        let writer = |n: u8| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                (n, rig.put("contended", &vec![n; 1000]))
            })
        };
        let writers: Vec<_> = (0..16).map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    if !rig.can.refuse_to_replace {
        // The last to arrive is what stands there; whoever says that it stored something else would lie.
        let last = rig.get("contended");
        assert!(last.len() == 1000 && last.iter().all(|byte| *byte == last[0]), "one of them, whole");
        assert!(outcomes.iter().any(|(n, outcome)| outcome.is_ok() && *n == last[0]), "{outcomes:?}");
        return;
    }
    let winners: Vec<u8> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(rig.get("contended"), vec![winners[0]; 1000]);
    for report in outcomes.into_iter().filter_map(|(_, outcome)| outcome.err()) {
        assert_eq!((report.kind, report.message.contains("exists already")), (Kind::Refused, true), "{report}");
    }
}

pub fn a_body_that_fails_leaves_nothing(rig: &Rig) {
    let report = rig.store.put("a", dying(1000), &rig.cx).unwrap_err();
    assert_eq!(report.message, "pg_dump exited with 1", "the cause, not that reading failed");
    rig.assert_nothing_is_left();
}

pub fn a_large_body_that_fails_leaves_nothing(rig: &Rig) {
    // At the end of a part too: what looks like a whole number of parts is not an end.
    for size in [2 * PART + 1000, 3 * PART] {
        let report = rig.store.put("a", dying(size), &rig.cx).unwrap_err();
        assert_eq!(report.message, "pg_dump exited with 1");
        rig.assert_nothing_is_left();
    }
}

pub fn a_put_cancelled_on_its_way_leaves_nothing(rig: &Rig) {
    for size in [1000, 3 * PART] {
        let cx = rig.fresh();
        let cancel = cx.cancel.clone();
        let body = watched(pattern(2 * size), move |at| {
            if at >= size {
                cancel.cancel();
            }
            Ok(())
        });
        assert_eq!(rig.store.put("a", body, &cx).unwrap_err().kind, Kind::Cancelled);
        rig.assert_nothing_is_left();
    }
}

pub fn odd_keys_go_there_and_back(rig: &Rig) {
    let keys = ["plain", "a b", "plus+and%20", "ü/日本/é", "quote\"'<>&", "a=b?c#d", "..dots..", "tilde~!*()$,;:@", "-dash", "back\\slash"];
    for key in keys {
        rig.put(key, key.as_bytes()).unwrap();
        assert_eq!(rig.get(key), key.as_bytes());
        assert_eq!(rig.keys(key), [key]);
    }
    let sorted: BTreeSet<&str> = keys.into();
    assert_eq!(rig.keys(""), sorted.into_iter().collect::<Vec<_>>());
    for key in keys {
        rig.store.delete(key, &rig.cx).unwrap();
    }
    rig.assert_nothing_is_left();
}

pub fn keys_that_leave_the_store_are_refused(rig: &Rig) {
    for key in ["", "../a", "/a", "a/../b", "a/", "a\nb"] {
        assert_eq!(rig.put(key, b"x").unwrap_err().kind, Kind::Refused, "{key:?}");
        assert_eq!(rig.store.head(key, &rig.cx).unwrap_err().kind, Kind::Refused, "{key:?}");
        assert_eq!(rig.store.delete(key, &rig.cx).unwrap_err().kind, Kind::Refused, "{key:?}");
        assert!(rig.store.get(key, None, &rig.cx).is_err(), "{key:?}");
    }
}

pub fn deleting_twice_is_not_an_error(rig: &Rig) {
    rig.put("a", b"x").unwrap();
    rig.put("ab", b"y").unwrap();
    rig.store.delete("a", &rig.cx).unwrap();
    rig.store.delete("a", &rig.cx).unwrap();
    assert_eq!(rig.keys(""), ["ab"]);
    rig.put("a", b"again").unwrap();
}

pub fn a_large_object_goes_there_and_back(rig: &Rig) {
    let bytes = pattern(8 * PART + 12_345);
    assert_eq!(rig.put("large", &bytes).unwrap(), bytes.len() as u64);
    assert!(rig.get("large") == bytes);
    let (start, end) = (2 * PART - 1, 3 * PART + 1);
    let middle = read(rig.store.get("large", Some(start as u64..end as u64), &rig.cx).unwrap());
    assert!(middle == bytes[start..end], "over the edges of parts");
    rig.assert_nothing_is_unfinished();
}

pub fn a_reader_can_be_cancelled(rig: &Rig) {
    rig.put("a", &pattern(3 * MIB)).unwrap();
    let cx = rig.fresh();
    let mut stream = rig.store.get("a", None, &cx).unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    cx.cancel.cancel();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(Report::from_io("reading", error).kind, Kind::Cancelled);
}
