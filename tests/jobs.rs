//! What a job dumps, of which server and with which client: real servers of several majors, real clients, a real shell at the far end.

mod group;
mod majors;
pub mod rig;
mod through;
