//! A store in memory that keeps the contract of `port::Store`, and can be told to fail.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use lifeboat::port::{Context, Object, Store, Stream, Unfinished};
use lifeboat::report::{Report, Result};

#[derive(Default)]
pub struct Shelf {
    pub objects: Mutex<BTreeMap<String, (Vec<u8>, Timestamp)>>,
    pub unfinished: Mutex<Vec<Unfinished>>,
    /// A put of a key that ends so fails after this many bytes.
    pub fail_put: Option<(&'static str, u64)>,
    /// A put of a key that ends so is done, and fails all the same: only its answer is lost.
    pub lose_put: Option<&'static str>,
    /// A put of a key that ends so cancels the work, and fails.
    pub cancel_put: Option<&'static str>,
    /// Every delete fails.
    pub fail_delete: bool,
    /// Bytes given out by `get`.
    pub given: Mutex<u64>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Vec<u8>, Timestamp)>> {
        self.objects.lock().unwrap()
    }

    pub fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn bytes(&self, key: &str) -> Vec<u8> {
        self.lock()[key].0.clone()
    }

    /// Behind the back of whoever wrote it.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.lock().get_mut(key).unwrap().0);
    }

    pub fn place(&self, key: &str, bytes: &[u8], age: SignedDuration) {
        self.lock().insert(key.into(), (bytes.to_vec(), Timestamp::now() - age));
    }
}

impl Store for Shelf {
    fn describe(&self) -> String {
        "the shelf".into()
    }

    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object> {
        if self.lock().contains_key(key) {
            return Err(Report::refused(format!("{key} exists already")));
        }
        let mut bytes = Vec::new();
        if self.cancel_put.is_some_and(|end| key.ends_with(end)) {
            cx.cancel.cancel();
            cx.check()?;
        }
        match self.fail_put {
            Some((end, after)) if key.ends_with(end) => {
                body.take(after).read_to_end(&mut bytes).map_err(|error| Report::from_io("reading what is to be stored", error))?;
                return Err(Report::failed("the shelf broke"));
            }
            _ => {
                let mut body = body;
                body.read_to_end(&mut bytes).map_err(|error| Report::from_io("reading what is to be stored", error))?;
            }
        }
        cx.check()?;
        let object = Object { key: key.into(), size: bytes.len() as u64, modified: Timestamp::now() };
        self.lock().insert(key.into(), (bytes, object.modified));
        if self.lose_put.is_some_and(|end| key.ends_with(end)) {
            return Err(Report::failed("the shelf says nothing any more"));
        }
        Ok(object)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, _: &Context) -> Result<Stream> {
        let Some((bytes, _)) = self.lock().get(key).cloned() else { return Err(Report::refused(format!("{key} does not exist"))) };
        let bytes = match range {
            Some(range) => {
                let end = bytes.len().min(usize::try_from(range.end).unwrap());
                bytes[usize::try_from(range.start).unwrap().min(end)..end].to_vec()
            }
            None => bytes,
        };
        *self.given.lock().unwrap() += bytes.len() as u64;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn head(&self, key: &str, _: &Context) -> Result<Option<Object>> {
        Ok(self.lock().get(key).map(|(bytes, modified)| Object { key: key.into(), size: bytes.len() as u64, modified: *modified }))
    }

    fn list(&self, prefix: &str, _: &Context) -> Result<Vec<Object>> {
        let objects = self.lock();
        let found = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, (bytes, modified))| Object { key: key.clone(), size: bytes.len() as u64, modified: *modified }).collect())
    }

    fn delete(&self, key: &str, cx: &Context) -> Result<()> {
        cx.check()?;
        if self.fail_delete {
            return Err(Report::failed("not allowed to delete"));
        }
        self.lock().remove(key);
        Ok(())
    }

    fn unfinished(&self, _: &Context) -> Result<Vec<Unfinished>> {
        Ok(self.unfinished.lock().unwrap().clone())
    }

    fn abort(&self, upload: &Unfinished, _: &Context) -> Result<()> {
        self.unfinished.lock().unwrap().retain(|kept| kept != upload);
        Ok(())
    }
}
