//! Signing a form: leave for somebody without rights to store one object (D3).
//!
//! The policy names the exact key, the most bytes and the end; the key is derived and applied by the SDK's own signer. Where the form goes
//! is asked of the SDK too, which knows every partition and style of address.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Encryption, S3, client};
use crate::port::Context;
use crate::report::{Explain, Report, Result};
use crate::store::ticket::{Form, POST_LIMIT};

/// The one algorithm there is.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What the signer of a form may say of the object, and whoever sends it fills in.
pub(crate) const CHECKSUM_FIELD: &str = "x-amz-checksum-crc32";

impl S3 {
    /// A form by which anybody may store up to `limit` bytes under `key` until `expires_at`, with the rights of these credentials and no more.
    /// Credentials that are over sooner are `Kind::Refused`: the form would be too.
    pub fn form(&self, key: &str, limit: u64, expires_at: Timestamp, cx: &Context) -> Result<Form> {
        let full = self.full(key)?;
        cx.wait(async {
            let credentials = client::credentials(&self.settings).await?;
            if let Some(end) = credentials.expiry().and_then(|end| Timestamp::try_from(end).ok()).filter(|end| *end < expires_at) {
                let message = format!("the credentials are over at {end}, the form would be valid until {expires_at}");
                return Err(Report::refused(message).hint("renew them: aws sso login, or use ones that last longer"));
            }
            let now = SystemTime::now();
            let region = self.client.config().region().map_or("us-east-1", |region| region.as_ref());
            let mut fields = self.fields(&full, credentials.access_key_id(), region, now)?;
            if let Some(token) = credentials.session_token() {
                fields.insert("x-amz-security-token".into(), token.into());
            }
            let limit = limit.min(POST_LIMIT);
            let policy = BASE64_STANDARD.encode(self.policy(&fields, limit, expires_at).to_string());
            let signing_key = aws_sigv4::sign::v4::generate_signing_key(credentials.secret_access_key(), now, region, "s3");
            let signature = aws_sigv4::sign::v4::calculate_signature(signing_key, policy.as_bytes());
            fields.extend([("policy".to_owned(), policy), ("x-amz-signature".to_owned(), signature)]);
            Ok(Form { url: self.address().await?, fields, limit })
        })
    }

    fn fields(&self, full: &str, access_key: &str, region: &str, now: SystemTime) -> Result<BTreeMap<String, String>> {
        let now = Timestamp::try_from(now).explain(|| "telling the time".into())?.to_zoned(TimeZone::UTC);
        let pairs = [
            ("key", full.to_owned()),
            ("success_action_status", "201".to_owned()),
            ("x-amz-algorithm", ALGORITHM.to_owned()),
            ("x-amz-credential", format!("{access_key}/{}/{region}/s3/aws4_request", now.strftime("%Y%m%d"))),
            ("x-amz-date", now.strftime("%Y%m%dT%H%M%SZ").to_string()),
        ];
        // How objects are to be kept, as far as a form can say it; a lock is the bucket's own default retention.
        let settings = &self.settings;
        let encryption = settings.encryption.as_ref().map(|encryption| match encryption {
            Encryption::Aes256 => ("AES256", None),
            Encryption::Kms(key) => ("aws:kms", key.clone()),
        });
        let kept = [
            ("x-amz-storage-class", settings.storage_class.clone()),
            ("x-amz-server-side-encryption", encryption.as_ref().map(|(name, _)| (*name).to_owned())),
            ("x-amz-server-side-encryption-aws-kms-key-id", encryption.and_then(|(_, key)| key)),
        ];
        let kept = kept.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Ok(pairs.into_iter().chain(kept).map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Every field exactly as it is, the checksum as the sender computes it, and nothing else.
    fn policy(&self, fields: &BTreeMap<String, String>, limit: u64, expires_at: Timestamp) -> Value {
        let mut conditions: Vec<Value> = vec![json!({ "bucket": self.settings.bucket })];
        conditions.extend(fields.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])));
        conditions.push(json!(["starts-with", format!("${CHECKSUM_FIELD}"), ""]));
        conditions.push(json!(["content-length-range", 0, limit]));
        let expiration = expires_at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
        json!({ "expiration": expiration, "conditions": conditions })
    }

    /// The bucket's address, taken from where the SDK would send an object.
    async fn address(&self) -> Result<String> {
        let config = PresigningConfig::expires_in(Duration::from_mins(1)).explain(|| "asking for the bucket's address".into())?;
        let request = self.client.put_object().bucket(&self.settings.bucket).key("x").presigned(config).await;
        let request = request.explain(|| "asking for the bucket's address".into())?;
        let address = request.uri().split('?').next().and_then(|address| address.strip_suffix('x'));
        address.map(str::to_owned).ok_or_else(|| Report::failed("the bucket's address cannot be told"))
    }
}
