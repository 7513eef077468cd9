//! What the targets share: the properties, which the suite of the program checks too, and a bound on the memory that hostile bytes take.

use peak_alloc::PeakAlloc;

#[path = "../../tests/fuzz/properties.rs"]
pub mod properties;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What anything may take: the chunks of a stream, buffers of a library.
const ALWAYS: usize = 1 << 20;

/// Checks a property of the bytes, and that memory never grew beyond `times` their length.
pub fn within(times: usize, bytes: &[u8], property: impl FnOnce(&[u8])) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    property(bytes);
    let taken = MEMORY.peak_usage() - before;
    let limit = ALWAYS + times * bytes.len();
    assert!(taken <= limit, "{} bytes took {taken} bytes of memory, at most {limit} were expected", bytes.len());
}

/// Pieces of a size that the bytes decide, but do not say: a dump must begin with what a dump begins with.
pub fn size(bytes: &[u8]) -> usize {
    let sum = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    1 + sum % 97
}
