//! The grants that a run refreshes. Each belongs to one connection at a time, and its refresh token is taken out of it
//! to be sent and put back only as the successor that came with the answer: no token is ever presented twice, and so
//! none twice at once.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    assertion::Assertions,
    caller::{Came, Wrong},
    credentials::Credentials,
    failure::Failure,
    form::Form,
    http1::{Answer, Head, Wire},
    load::Load,
    target::Target,
};

/// What the load is bounded by before it is measured.
const OBTAINED_WITHIN: Duration = Duration::from_secs(300);

/// Kept from one measurement to the next, with the newest refresh token of each.
#[derive(Clone)]
pub struct Grants {
    terms: Arc<Terms>,
    /// Empty while a measurement has them.
    kept: Arc<Mutex<Vec<Grant>>>,
}

/// What all of them have in common.
struct Terms {
    credentials: Credentials,
    /// `None` for refresh tokens that somebody else obtained: such a grant cannot be obtained again.
    assertions: Option<Assertions>,
    count: usize,
    obtained_again: AtomicU64,
}

struct Grant {
    subject: u64,
    /// `None` before there is one, while it is being refreshed, and after an answer that was not right: whether the
    /// token has been spent is unknown then.
    refresh_token: Option<String>,
}

/// What became of the grants, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GrantFacts {
    pub count: usize,
    /// After a refresh that was not answered as it should be.
    pub obtained_again: u64,
    /// Without a refresh token at the end.
    pub lost: usize,
}

impl Grants {
    pub fn given(tokens: Vec<String>, credentials: Credentials) -> Self {
        let grant = |(subject, token)| Grant { subject, refresh_token: Some(token) };
        Self::new((0..).zip(tokens).map(grant).collect(), credentials, None)
    }

    /// One for each of `user-0` to `user-{count - 1}`; they have no refresh tokens yet.
    pub fn of_subjects(count: u64, assertions: Assertions, credentials: Credentials) -> Self {
        let grant = |subject| Grant { subject, refresh_token: None };
        Self::new((0..count).map(grant).collect(), credentials, Some(assertions))
    }

    fn new(grants: Vec<Grant>, credentials: Credentials, assertions: Option<Assertions>) -> Self {
        let (count, obtained_again) = (grants.len(), AtomicU64::new(0));
        let terms = Terms { credentials, assertions, count, obtained_again };
        Self { terms: Arc::new(terms), kept: Arc::new(Mutex::new(grants)) }
    }

    /// As many, with tokens that mean nothing: for a server that answers anything.
    pub fn likeness(&self) -> Self {
        let tokens = (0..self.terms.count).map(|number| format!("gtr_{number:048}")).collect();
        Self::given(tokens, self.terms.credentials.clone())
    }

    /// # Errors
    /// A connection would have none.
    pub fn check(&self, connections: usize) -> Result<(), Failure> {
        if self.terms.count >= connections {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} grants are too few for {connections} connections, as each refreshes its own; give fewer --connections",
            self.terms.count
        )))
    }

    /// Gets a first refresh token for each grant that has none.
    pub async fn obtain(&self, token: &Target, load: &Load) -> Result<(), Failure> {
        if self.facts().lost == 0 {
            return Ok(());
        }
        let head = Head::form(token, self.terms.credentials.header())?;
        let mut workers = JoinSet::new();
        for mut share in self.deal(load.connections) {
            let mut wire = Wire::new(head.clone(), load.timeout);
            workers.spawn(async move { share.obtain_all(&mut wire).await.map(|()| share) });
        }
        let all = async {
            while let Some(worker) = workers.join_next().await {
                let ended = worker.map_err(|error| Failure::new(format!("a worker ended early: {error}")));
                self.take_back(ended??);
            }
            Ok(())
        };
        tokio::time::timeout(OBTAINED_WITHIN, all).await.unwrap_or_else(|_| {
            let count = self.terms.count;
            let message =
                format!("{count} grants were not obtained within {OBTAINED_WITHIN:?}; give fewer --subjects");
            Err(Failure::new(message))
        })
    }

    /// Hands all of them out, evenly.
    pub fn deal(&self, callers: usize) -> Vec<Share> {
        let share = |_| Share { terms: self.terms.clone(), grants: VecDeque::new() };
        let mut shares: Vec<_> = (0..callers).map(share).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, grant) in kept.drain(..).enumerate() {
            shares[index % callers].grants.push_back(grant);
        }
        shares
    }

    pub fn take_back(&self, share: Share) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(share.grants);
    }

    pub fn facts(&self) -> GrantFacts {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = kept.iter().filter(|grant| grant.refresh_token.is_none()).count();
        let Terms { count, obtained_again, .. } = &*self.terms;
        GrantFacts { count: *count, obtained_again: obtained_again.load(Relaxed), lost }
    }

    /// Replaces the file with the newest refresh tokens: those that it held are spent.
    pub fn write_to(&self, path: &Path) -> Result<(), Failure> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = kept
            .iter()
            .filter_map(|grant| grant.refresh_token.as_deref())
            .flat_map(|it| [it, "\n"])
            .collect();
        std::fs::write(path, lines).map_err(|error| {
            Failure::new(format!("--refresh-tokens {} cannot be written: {error}", path.display()))
        })
    }
}

/// One refresh token a line.
///
/// # Errors
/// There is none, or one stands there twice.
pub fn read_tokens(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = |what: &str| Failure::new(format!("--refresh-tokens {} {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&format!("cannot be read: {error}")))?;
    let tokens: Vec<_> = text.lines().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    if tokens.is_empty() {
        return Err(failed("holds no refresh token; it needs one a line"));
    }
    if tokens.iter().collect::<std::collections::HashSet<_>>().len() < tokens.len() {
        return Err(failed("holds a refresh token twice; each must be a grant of its own"));
    }
    Ok(tokens)
}

/// The grants of one connection, the next to refresh in front.
pub struct Share {
    terms: Arc<Terms>,
    grants: VecDeque<Grant>,
}

impl Share {
    /// Whether there is nothing left to refresh, nor a way to get it.
    pub fn is_spent(&self) -> bool {
        self.terms.assertions.is_none() && self.grants.iter().all(|grant| grant.refresh_token.is_none())
    }

    /// Refreshes the next grant (RFC 6749 §6).
    ///
    /// 1. Take the grant whose turn it is.
    /// 2. Obtain it again if the last answer was not right.
    /// 3. Send its newest refresh token, and keep the one that comes back.
    pub async fn refresh(&mut self, wire: &mut Wire) -> Came {
        let Some(mut grant) = self.next() else {
            return Came::wrong(Wrong::unsent("no grant is left to refresh"));
        };
        let mut tokens = 0;
        let result = self.refresh_one(&mut grant, wire, &mut tokens).await;
        self.grants.push_back(grant);
        Came { result, tokens, part: None }
    }

    /// Those that are lost for good are skipped.
    fn next(&mut self) -> Option<Grant> {
        let is_usable = |grant: &Grant| grant.refresh_token.is_some() || self.terms.assertions.is_some();
        let place = self.grants.iter().position(is_usable)?;
        self.grants.rotate_left(place);
        self.grants.pop_front()
    }

    async fn refresh_one(&self, grant: &mut Grant, wire: &mut Wire, tokens: &mut u64) -> Result<(), Wrong> {
        let refresh_token = match grant.refresh_token.take() {
            Some(token) => token,
            None => {
                let token = self
                    .obtain(grant.subject, wire)
                    .await
                    .map_err(|wrong| wrong.during("obtaining again"))?;
                self.terms.obtained_again.fetch_add(1, Relaxed);
                *tokens += 1;
                token
            }
        };
        let mut form = Form::new();
        form.push("grant_type", "refresh_token");
        form.push("refresh_token", &refresh_token);
        self.terms.credentials.add_to(&mut form);
        grant.refresh_token = Some(ask(wire, form.render(0)).await?);
        *tokens += 1;
        Ok(())
    }

    async fn obtain(&self, subject: u64, wire: &mut Wire) -> Result<String, Wrong> {
        let Some(assertions) = &self.terms.assertions else {
            return Err(Wrong::unsent("the refresh token came from a file and cannot be obtained again"));
        };
        let request = assertions.request(subject, &self.terms.credentials);
        ask(wire, request.map_err(|failure| Wrong::unsent(&failure.to_string()))?).await
    }

    /// # Errors
    /// One is refused.
    async fn obtain_all(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        for index in 0..self.grants.len() {
            if self.grants[index].refresh_token.is_none() {
                let obtained = self.obtain(self.grants[index].subject, wire).await;
                let failed =
                    |wrong: Wrong| Failure::new(format!("while obtaining the grants: {}", wrong.in_full));
                self.grants[index].refresh_token = Some(obtained.map_err(failed)?);
            }
        }
        Ok(())
    }
}

/// Returns the refresh token of an answer that holds an access token too.
async fn ask(wire: &mut Wire, body: Bytes) -> Result<String, Wrong> {
    let answer = wire.send(body).await.map_err(|lost| Wrong::lost(&lost))?;
    pair_in(&answer).map_err(|name| Wrong::answered(name, &answer))
}

/// RFC 6749 §5.1; borrowed, as nothing but the length of the access token matters.
#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(borrow)]
    access_token: Option<std::borrow::Cow<'a, str>>,
    refresh_token: Option<String>,
}

/// # Errors
/// A short name under which wrong answers are counted.
fn pair_in(answer: &Answer) -> Result<String, String> {
    if answer.status != http::StatusCode::OK {
        return Err(format!("status {}", answer.status.as_u16()));
    }
    match serde_json::from_slice::<Pair<'_>>(&answer.body) {
        Ok(Pair { access_token: Some(access), refresh_token: Some(refresh) })
            if !access.is_empty() && !refresh.is_empty() =>
        {
            Ok(refresh)
        }
        Ok(Pair { access_token: Some(_), .. }) => Err("200 without a refresh token".into()),
        _ => Err("200 without a token".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Auth;

    fn given(count: usize) -> Grants {
        let credentials = Credentials { client_id: "c".into(), secret: "s".into(), auth: Auth::Basic };
        Grants::given((0..count).map(|number| format!("r{number}")).collect(), credentials)
    }

    #[test]
    fn every_grant_is_dealt_to_one_connection_and_comes_back() {
        let grants = given(10);
        let shares = grants.deal(4);
        assert_eq!(shares.iter().map(|share| share.grants.len()).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert!(grants.deal(1)[0].is_spent(), "they are handed out once");
        shares.into_iter().for_each(|share| grants.take_back(share));
        assert_eq!(grants.facts(), GrantFacts { count: 10, obtained_again: 0, lost: 0 });
        assert!(grants.check(10).is_ok() && grants.check(11).is_err());
    }

    #[test]
    fn a_grant_that_is_lost_for_good_is_skipped() {
        let mut share = given(3).deal(1).remove(0);
        share.grants[0].refresh_token = None;
        assert_eq!(share.next().unwrap().refresh_token.as_deref(), Some("r1"));
        assert!(!share.is_spent());
        assert_eq!(share.next().unwrap().refresh_token.as_deref(), Some("r2"));
        assert!(share.is_spent() && share.next().is_none());
    }

    #[test]
    fn an_answer_counts_only_with_both_tokens() {
        let pair = |status: u16, body: &'static str| {
            pair_in(&Answer {
                status: http::StatusCode::from_u16(status).unwrap(),
                body: Bytes::from_static(body.as_bytes()),
            })
        };
        assert_eq!(pair(200, r#"{"access_token":"a","refresh_token":"r\/1","x":1}"#), Ok("r/1".into()));
        assert_eq!(pair(200, r#"{"access_token":"a"}"#), Err("200 without a refresh token".into()));
        assert_eq!(
            pair(200, r#"{"access_token":"a","refresh_token":""}"#),
            Err("200 without a refresh token".into())
        );
        assert_eq!(pair(200, r#"{"refresh_token":"r"}"#), Err("200 without a token".into()));
        assert_eq!(pair(200, "<html>"), Err("200 without a token".into()));
        assert_eq!(pair(400, "{}"), Err("status 400".into()));
    }

    #[test]
    fn a_file_holds_each_refresh_token_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read_tokens(file.path()).map_err(|failure| failure.to_string())
        };
        assert_eq!(read("a\r\n\n b \n").unwrap(), ["a", "b"]);
        assert!(read("\n").unwrap_err().contains("one a line"));
        assert!(read("a\na\n").unwrap_err().contains("twice"));
        given(2).write_to(file.path()).unwrap();
        assert_eq!(read_tokens(file.path()).unwrap(), ["r0", "r1"]);
    }
}
