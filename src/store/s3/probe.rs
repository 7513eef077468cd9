//! Whether the store keeps the condition "only if there is none yet": some refuse it, some take it and ignore it.

use bytes::Bytes;

use super::trouble::Operation;
use super::{Conditional, S3, ask};
use crate::port::Context;
use crate::report::{Kind, Result};

/// One name for all times: a writer who may not delete leaves one small object there and never a second. A store that refuses says so to
/// the first question from then on, and nothing is written at all.
pub(crate) const PROBE: &str = ".lifeboat/probe-conditional";

/// The condition "only if there is none yet".
pub(super) const IF_NONE: &str = "*";

impl S3 {
    /// Whether the store itself refuses to replace an object, asked by storing one small object of a fixed name, twice if need be.
    /// The object stays. Where the store does not refuse, two uploads of one key at the same moment are told apart only afterwards.
    pub fn refuses_to_replace(&self, cx: &Context) -> Result<bool> {
        let full = self.full(PROBE)?;
        for _ in 0..2 {
            let put = self.client.put_object().bucket(&self.settings.bucket).key(&full).if_none_match(IF_NONE);
            match ask(cx, put.body(Bytes::from_static(b"?").into()).send())? {
                Ok(_) => {}
                Err(trouble) if trouble.is_not_implemented() => return Ok(false),
                Err(trouble) if trouble.is_taken() => return Ok(true),
                Err(trouble) => return Err(self.report(Operation::PutObject, &trouble)),
            }
        }
        Ok(false)
    }

    /// The same as configured, asked once and remembered. What cannot be found out is not relied on.
    pub(super) fn relies_on_condition(&self, cx: &Context) -> Result<bool> {
        if self.settings.conditional != Conditional::Probe {
            return Ok(self.settings.conditional == Conditional::Yes);
        }
        if let Some(known) = self.refuses.get() {
            return Ok(*known);
        }
        let refuses = match self.refuses_to_replace(cx) {
            Err(report) if report.kind == Kind::Cancelled => return Err(report),
            Err(report) => {
                cx.log.say("s3", &format!("whether {} refuses to replace an object could not be asked: {report}", self.place()));
                false
            }
            Ok(refuses) => {
                let said = if refuses { "refuses to replace an object" } else { "would replace an object: it is looked for right before" };
                cx.log.say("s3", &format!("{} {said}", self.place()));
                refuses
            }
        };
        Ok(*self.refuses.get_or_init(|| refuses))
    }

    /// What is sent along with whatever makes an object.
    pub(super) fn condition(&self) -> Option<String> {
        (self.settings.conditional != Conditional::No).then(|| IF_NONE.to_owned())
    }
}
