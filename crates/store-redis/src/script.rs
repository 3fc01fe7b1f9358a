use redis::{FromRedisValue, Pipeline};

use crate::errors::{Cause, Result};
use crate::link::Links;
use crate::names::Key;

/// A program that Redis runs without anybody in between. It is sent by its hash, and whole where Redis has forgotten it.
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// On the connection for writes; all keys are in the hash slot of the first.
    pub async fn run<T: FromRedisValue>(
        &self,
        links: &Links,
        keys: &[Key],
        arguments: &[Vec<u8>],
    ) -> Result<T> {
        let call = |name: &str, script: &str| {
            let mut commands = Pipeline::new();
            commands.cmd(name).arg(script).arg(keys.len()).arg(keys).arg(arguments);
            commands
        };
        let first = &keys[0];
        let answered = links.write::<(T,)>(first, &call("EVALSHA", &self.hash)).await;
        match answered {
            Err(error) if error.cause() == Cause::NoScript => {
                Ok(links.write::<(T,)>(first, &call("EVAL", self.code)).await?.0)
            }
            other => Ok(other?.0),
        }
    }
}
