//! What a job dumps, of which server and with which client: real servers of several majors, real clients, a real shell at the far end.

mod group;
mod kept;
mod majors;
mod restore;
pub mod rig;
mod swap;
mod through;
