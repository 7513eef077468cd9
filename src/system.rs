//! What is backed up, restored or asked: PostgreSQL, HTTP, commands, notifications, the machine itself.

pub mod command;
pub mod http;
pub mod notify;
pub mod place;
pub mod postgres;
pub mod reboot;
pub mod secret;

/// Whoever speaks TLS needs one provider for the whole process; the first one installed stays.
fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok(); // an error says that there is one already
}
