//! What nobody can guess and nothing else has: ids, marks, and the passwords of what is thrown away.

use crate::report::{Report, Result};

/// So many bytes from the operating system's generator, as lower-case hex digits: two for each.
pub fn nonce(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| Report::failed("the system gives no random numbers").cause(error.to_string()))?;
    Ok(hex::encode(random))
}
