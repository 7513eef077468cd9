//! What claims to be a plain dump: it is whole, or an error; never a panic, and never more memory than there is input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::pipeline::inspect::Inspector;
use lifeboat::pipeline::inspect::outline::{Outline, Wish};
use lifeboat::pipeline::manifest::Format;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let wish = Wish { rows: Some(("public.people".into(), 3)), statements: true };
    let (mut whole, mut pieces) = (Inspector::new(Format::Plain), Inspector::new(Format::Plain));
    let mut outline = Outline::of(wish);
    let one = whole.feed(bytes).and_then(|()| whole.finish());
    let size = usize::from(size).max(1);
    let other = bytes.chunks(size).try_for_each(|chunk| pieces.feed_to(chunk, &mut outline)).and_then(|()| pieces.finish());
    assert_eq!(one.is_ok(), other.is_ok(), "chunks of {size} make a difference");
    if let (Ok(one), Ok(other)) = (one, other) {
        assert_eq!(one, other, "chunks of {size} make a difference");
    }
});
