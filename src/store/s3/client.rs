//! The SDK's client as we need it: our TLS, our credentials, no checksum we did not ask for, no request that hangs for ever.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{self, BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::config::{ProvideCredentials, SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::watchdog::Watchdog;
use super::{Credentials, Settings};
use crate::report::{Explain, Report, Result};

/// Signed for where a store of one's own does not care.
const ANY_REGION: &str = "us-east-1";

/// For the connection itself, before there is anything that could move.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

pub(super) async fn build(settings: &Settings) -> Result<Client> {
    let shared = load(settings).await?;
    if shared.region().is_none() {
        return Err(Report::usage(format!("no region is known for the bucket `{}`", settings.bucket))
            .hint("set `region` in the store's configuration, or AWS_REGION"));
    }
    // The SDK's quota of retries is one for the whole process: a bad hour of one store would leave none for another. Here `attempts` decides.
    let quota = RetryPartition::custom("lifeboat").token_bucket(TokenBucket::unlimited()).build();
    let config = config::Builder::from(&shared).force_path_style(settings.path_style).retry_partition(quota);
    Ok(Client::from_conf(config.build()))
}

/// The credentials themselves, for who signs what another will send.
pub(super) async fn credentials(settings: &Settings) -> Result<config::Credentials> {
    let missing =
        || Report::failed(format!("no credentials were found for bucket `{}`", settings.bucket)).hint("set the store's `credentials`");
    let provider = load(settings).await?.credentials_provider().ok_or_else(missing)?;
    provider.provide_credentials().await.map_err(|error| missing().because(error))
}

async fn load(settings: &Settings) -> Result<aws_config::SdkConfig> {
    let https = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let retries = RetryConfig::standard()
        .with_max_attempts(settings.attempts)
        .with_initial_backoff(settings.backoff)
        .with_max_backoff(LONGEST_PAUSE.max(settings.backoff));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(SharedHttpClient::new(Watchdog { inner: https, stuck_after: settings.stuck_after }))
        .region(region(settings))
        .retry_config(retries)
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT.min(settings.stuck_after)).build())
        // It does not see uploads from memory, and takes a slow reader for a slow store: `watchdog` looks after both.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    match &settings.credentials {
        Credentials::Default => {}
        Credentials::Profile(name) => loader = loader.profile_name(name),
        Credentials::File(path) => loader = loader.credentials_provider(SharedCredentialsProvider::new(read(path)?)),
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    Ok(loader.load().await)
}

/// A store of one's own is not asked about through the network: the instance metadata of AWS would only be waited for.
fn region(settings: &Settings) -> RegionProviderChain {
    let given = RegionProviderChain::first_try(settings.region.clone().map(Region::new));
    let profile = match &settings.credentials {
        Credentials::Profile(name) => ProfileFileRegionProvider::builder().profile_name(name).build(),
        _ => ProfileFileRegionProvider::new(),
    };
    match &settings.endpoint {
        Some(_) => given.or_else(EnvironmentVariableRegionProvider::new()).or_else(profile).or_else(Region::from_static(ANY_REGION)),
        None => given.or_else(profile).or_default_provider(),
    }
}

/// The credentials in a file. What the file says never appears in an error.
fn read(path: &Path) -> Result<config::Credentials> {
    let name = path.display();
    let mode = std::fs::metadata(path).explain(|| format!("looking at the credentials in {name}"))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(
            Report::usage(format!("everybody on this machine may read the credentials in {name}")).hint(format!("chmod 600 {name}"))
        );
    }
    let text = std::fs::read_to_string(path).explain(|| format!("reading the credentials in {name}"))?;
    let fields = fields(&text).ok_or_else(|| Report::usage(format!("{name} is neither JSON nor lines of key=value")))?;
    let field = |key: &str| fields.get(key).or_else(|| fields.get(&format!("aws_{key}"))).filter(|value| !value.is_empty()).cloned();
    let needed = |key: &str| field(key).ok_or_else(|| Report::usage(format!("{name} has no `{key}`")));
    Ok(config::Credentials::new(needed("access_key_id")?, needed("secret_access_key")?, field("session_token"), None, "file"))
}

/// `None` for anything else than a flat JSON object of texts or lines of `key=value`, each key once.
fn fields(text: &str) -> Option<HashMap<String, String>> {
    if text.trim_start().starts_with('{') {
        let object: HashMap<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        return Some(object.into_iter().filter_map(|(key, value)| Some((key.to_lowercase(), value.as_str()?.to_owned()))).collect());
    }
    let mut fields = HashMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        let (key, value) = line.split_once('=')?;
        if fields.insert(key.trim().to_lowercase(), value.trim().trim_matches('"').to_owned()).is_some() {
            return None;
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_json_and_from_lines() {
        let json = r#"{"access_key_id": "AK", "secret_access_key": "a=b", "session_token": "t", "expires": 3}"#;
        let lines = "# of the backup user\n[default]\naws_access_key_id = AK\nAWS_SECRET_ACCESS_KEY=\"a=b\"\n";
        assert_eq!(fields(json).unwrap()["secret_access_key"], "a=b");
        assert_eq!(fields(lines).unwrap()["aws_secret_access_key"], "a=b");
        assert_eq!(fields("a=1\na=2"), None, "two profiles in one file: which one is meant is not known");
        assert_eq!(fields("hello"), None);
    }

    #[test]
    fn a_credentials_file_everybody_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "access_key_id=AK\nsecret_access_key=hunter2\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(read(file.path()).unwrap_err().hints[0].starts_with("chmod 600"));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read(file.path()).unwrap().access_key_id(), "AK");
    }

    #[test]
    fn an_error_about_credentials_never_shows_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["access_key_id=AK\nhunter2\n", "{\"secret_access_key\": \"hunter2\"", "secret_access_key=hunter2"] {
            std::fs::write(&file, text).unwrap();
            let report = read(file.path()).unwrap_err();
            assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
        }
    }
}
