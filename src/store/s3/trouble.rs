//! What went wrong with a request, and one clear report of it.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::{Checksum, Conditional, S3};
use crate::report::Report;

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    HeadBucket,
    HeadObject,
    GetObject,
    PutObject,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    ListObjects,
    DeleteObject,
    ListVersions,
    DeleteVersion,
}

impl Operation {
    /// As people say it.
    fn words(self) -> &'static str {
        match self {
            Operation::HeadBucket => "looking at the bucket",
            Operation::HeadObject => "looking at an object",
            Operation::GetObject => "reading an object",
            Operation::PutObject => "storing an object",
            Operation::CreateUpload => "beginning an upload",
            Operation::UploadPart => "uploading a part",
            Operation::CompleteUpload => "completing an upload",
            Operation::AbortUpload => "taking an upload back",
            Operation::ListUploads => "listing unfinished uploads",
            Operation::ListObjects => "listing objects",
            Operation::DeleteObject => "removing an object",
            Operation::ListVersions => "listing the versions of an object",
            Operation::DeleteVersion => "removing a version of an object",
        }
    }

    /// The right it needs, as policies name it, and on what.
    fn right(self) -> (&'static str, &'static str) {
        match self {
            Operation::HeadBucket | Operation::ListObjects => ("s3:ListBucket", ""),
            Operation::ListUploads => ("s3:ListBucketMultipartUploads", ""),
            // Without s3:ListBucket the store says 403 where there is no object.
            Operation::HeadObject => ("s3:GetObject and s3:ListBucket", "/*"),
            Operation::GetObject => ("s3:GetObject", "/*"),
            Operation::PutObject | Operation::CreateUpload | Operation::UploadPart | Operation::CompleteUpload => ("s3:PutObject", "/*"),
            Operation::AbortUpload => ("s3:AbortMultipartUpload", "/*"),
            Operation::DeleteObject => ("s3:DeleteObject", "/*"),
            Operation::ListVersions => ("s3:ListBucketVersions", ""),
            Operation::DeleteVersion => ("s3:DeleteObjectVersion", "/*"),
        }
    }
}

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// S3's word for it: `NoSuchBucket`. None where there was no answer, or one without a body.
    code: Option<String>,
    /// HTTP's.
    status: Option<u16>,
    /// In their own words, nearest first, without control characters.
    said: Vec<String>,
    timeout: bool,
}

impl<E> From<SdkError<E>> for Trouble
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let timeout = matches!(&error, SdkError::TimeoutError(_)) || matches!(&error, SdkError::DispatchFailure(why) if why.is_timeout());
        let code = error.code().map(clean);
        let said = match (&code, error.message()) {
            (Some(code), Some(message)) => vec![format!("{code}: {}", clean(message))],
            (Some(code), None) => vec![code.clone()],
            (None, _) if error.as_service_error().is_some() => {
                status.map(|status| format!("HTTP status {status} and no reason")).into_iter().collect()
            }
            (None, _) => chain(&error),
        };
        Trouble { code, status, said, timeout }
    }
}

impl Trouble {
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    fn is_any(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// The key or the bucket is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(404)
    }

    /// An answer without a word of S3's.
    pub(super) fn is_without_reason(&self) -> bool {
        self.code.is_none()
    }

    /// Not allowed.
    pub(super) fn is_refused(&self) -> bool {
        self.status == Some(403)
    }

    /// Somebody has the key already, or is about to.
    pub(super) fn is_taken(&self) -> bool {
        [Some(412), Some(409)].contains(&self.status) && !self.is("OperationAborted")
    }

    /// The part asked for begins at or after the object's end.
    pub(super) fn is_beyond_end(&self) -> bool {
        self.status == Some(416)
    }

    /// The store does not know what it was asked to do, or the condition it was asked to keep, and says so.
    pub(super) fn is_not_implemented(&self) -> bool {
        self.status == Some(501)
    }

    /// There was an answer; otherwise what became of the request is not known.
    fn was_answered(&self) -> bool {
        self.status.is_some()
    }
}

impl S3 {
    /// What the user is told about `trouble`.
    pub(super) fn report(&self, operation: Operation, trouble: &Trouble) -> Report {
        if trouble.is("NoSuchBucket") {
            return self.no_bucket();
        }
        let words = operation.words();
        let (bucket, place) = (&self.settings.bucket, self.place());
        let report = if trouble.is_any(&["InvalidAccessKeyId", "NotSignedUp", "SignatureDoesNotMatch"]) {
            let which = if trouble.is("SignatureDoesNotMatch") { "secret" } else { "access" };
            Report::failed(format!("{place} does not accept the {which} key")).hint("check the store's `credentials`")
        } else if trouble.is_any(&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"]) {
            Report::failed(format!("{place} says that the credentials are no longer valid"))
                .hint("renew them: aws sso login, or a new session token")
        } else if trouble.is_any(&["RequestTimeTooSkewed", "RequestExpired"]) {
            Report::failed(format!("this machine's clock and that of {place} are too far apart")).hint("timedatectl status")
        } else if trouble.is_any(&["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"])
            || trouble.status == Some(301)
        {
            Report::failed(format!("the bucket `{bucket}` is in another region")).hint("set `region` in the store's configuration")
        } else if trouble.status.is_some_and(|status| [302, 307, 308].contains(&status)) {
            Report::failed(format!("{place} sends requests elsewhere while {words} in bucket `{bucket}`"))
                .hint("set `endpoint` and `region` in the store's configuration to where the bucket is")
        } else if trouble.status == Some(501) {
            self.not_known(Report::failed(format!("{place} does not know what was asked of it while {words} in bucket `{bucket}`")))
        } else if trouble.status == Some(507) || trouble.is_any(&["XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"]) {
            Report::failed(format!("no space left in {place} ({words} in bucket `{bucket}`)"))
                .hint("make room, or point the store elsewhere; lifeboat sweep finds what killed backups left")
        } else if trouble.is_refused() {
            let (right, below) = operation.right();
            Report::failed(format!("{place} does not allow {words} in bucket `{bucket}`"))
                .hint(format!("give the store's credentials the right {right} on arn:aws:s3:::{bucket}{below}"))
        } else if trouble.is_any(&["SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequests"]) || trouble.status == Some(503) {
            Report::failed(format!("{place} is overloaded and kept refusing while {words}"))
                .hint("try again later, or with a smaller `concurrency`")
        } else if trouble.said.iter().any(|said| said.contains("credential") || said.contains("Credential")) && !trouble.was_answered() {
            Report::failed(format!("no credentials were found for bucket `{bucket}`"))
                .hint("aws sts get-caller-identity")
                .hint("set the store's `credentials`")
        } else if trouble.timeout {
            Report::failed(format!("{place} did not answer in time while {words} in bucket `{bucket}`"))
        } else if !trouble.was_answered() {
            Report::failed(format!("{place} cannot be reached while {words} in bucket `{bucket}`")).hint(format!("curl -v {place}"))
        } else {
            Report::failed(format!("{place} failed while {words} in bucket `{bucket}`"))
        };
        trouble.said.iter().fold(report, |report, said| report.cause(said.clone()))
    }

    /// What of the configuration a store may not know.
    fn not_known(&self, report: Report) -> Report {
        let settings = &self.settings;
        let optional = [
            ("checksum = \"none\"", settings.checksum == Checksum::Crc32),
            ("conditional = \"no\"", settings.conditional != Conditional::No),
            ("no `storage_class`", settings.storage_class.is_some()),
            ("no `encryption`", settings.encryption.is_some()),
            ("no `lock`", settings.lock.is_some()),
        ];
        let words: Vec<&str> = optional.into_iter().filter(|(_, used)| *used).map(|(words, _)| words).collect();
        if words.is_empty() { report } else { report.hint(format!("try, one by one, in the store's configuration: {}", words.join(", "))) }
    }

    pub(super) fn no_bucket(&self) -> Report {
        let (bucket, place) = (&self.settings.bucket, self.place());
        let endpoint = self.settings.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" --endpoint-url {endpoint}"));
        Report::failed(format!("the bucket `{bucket}` does not exist at {place}")).hint(format!("aws{endpoint} s3 mb s3://{bucket}"))
    }

    /// An answer that cannot be relied on.
    pub(super) fn strange(&self, what: String) -> Report {
        Report::failed(format!("{} gives an answer that cannot be relied on", self.place())).cause(what)
    }
}

/// What an error and all behind it say, each once; the SDK's own headlines say nothing and are left out.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        let words = clean(&error.to_string());
        if said.last().is_none_or(|last| !last.contains(&words)) {
            said.push(words);
        }
        next = error.source();
    }
    said
}

/// What a server says is hostile until shown otherwise.
pub(super) fn clean(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
