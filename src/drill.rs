//! The box: a whole little production, thrown away afterwards. A PostgreSQL server with a shop in it, an S3 service, keys, the shop's
//! site, and a configuration that points at all of it. A disaster strikes it, and the real runbooks get it back.
//!
//! Nothing in here is a mock of ours: the engine that restores the box is the engine that restores production. What is simulated is the
//! world around it, and it answers at the wire.

mod boxed;
pub mod bucket;
pub mod disaster;
pub mod keys;
mod place;
pub mod sample;
pub mod site;

pub use boxed::{BoxOptions, ROWS, TheBox};
pub use disaster::{Loss, Scenario, Truth};
pub use place::is_box;
