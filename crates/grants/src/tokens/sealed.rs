//! What is inside an opaque token that says everything itself: the fields one after the other, numbers big-endian, texts
//! after their lengths, with a byte in front that stands for this form. It is sealed, so whatever is read here was
//! written here.

use grantry_protocol::{
    AccessToken, AccessTokenFormat, Audience, Authority, Epoch, Grant, GrantId, Position, ScopeSet, Seen,
    SessionId, SlotKey, SubjectKind, Timestamp, TokenId,
};

const FORM: u8 = 1;

/// All but the id.
pub fn write_token(token: &AccessToken) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(token.slot.as_bytes());
    out.text(token.client_id.as_str());
    out.text(token.subject.as_str());
    out.kind(token.subject_kind);
    out.text(token.scope.as_str());
    out.audience(&token.audience);
    out.time(token.issued_at);
    out.time(token.expires_at);
    out.seen(token.authority.seen);
    out.optional(token.authority.grant.as_ref().map(GrantId::as_bytes));
    out.optional(token.authority.session.as_ref().map(SessionId::as_bytes));
    out.0
}

pub fn read_token(id: TokenId, content: &[u8]) -> Option<AccessToken> {
    let mut from = Reader::of(content)?;
    let token = AccessToken {
        id,
        slot: SlotKey::from_bytes(from.bytes()?),
        client_id: from.text()?.parse().ok()?,
        subject: from.text()?.parse().ok()?,
        subject_kind: from.kind()?,
        scope: ScopeSet::parse(from.text()?).ok()?,
        audience: from.audience()?,
        format: AccessTokenFormat::Opaque,
        issued_at: from.time()?,
        expires_at: from.time()?,
        authority: Authority {
            seen: from.seen()?,
            grant: from.optional()?.map(GrantId::from_bytes),
            session: from.optional()?.map(SessionId::from_bytes),
        },
        deferred_by: None,
        status_index: None,
    };
    from.is_at_end().then_some(token)
}

/// All but the id and the counter.
pub fn write_grant(grant: &Grant) -> Vec<u8> {
    let mut out = Writer::default();
    out.optional(grant.slot.as_ref().map(SlotKey::as_bytes));
    out.text(grant.client_id.as_str());
    out.text(grant.subject.as_str());
    out.kind(grant.subject_kind);
    out.text(grant.scope.as_str());
    out.audience(&grant.audience);
    out.optional(grant.session.as_ref().map(SessionId::as_bytes));
    out.seen(grant.seen);
    out.time(grant.created_at);
    out.time(grant.expires_at);
    out.time(grant.idle_expires_at);
    out.time(grant.rotated_at);
    out.bytes(grant.access_token.as_bytes());
    out.0
}

/// Rotated never.
pub fn read_grant(id: GrantId, content: &[u8]) -> Option<Grant> {
    let mut from = Reader::of(content)?;
    let grant = Grant {
        id,
        slot: from.optional()?.map(SlotKey::from_bytes),
        client_id: from.text()?.parse().ok()?,
        subject: from.text()?.parse().ok()?,
        subject_kind: from.kind()?,
        scope: ScopeSet::parse(from.text()?).ok()?,
        audience: from.audience()?,
        session: from.optional()?.map(SessionId::from_bytes),
        seen: from.seen()?,
        created_at: from.time()?,
        expires_at: from.time()?,
        idle_expires_at: from.time()?,
        rotated_at: from.time()?,
        access_token: TokenId::from_bytes(from.bytes()?),
        counter: 0,
        status_index: None,
    };
    from.is_at_end().then_some(grant)
}

struct Writer(Vec<u8>);

impl Default for Writer {
    fn default() -> Self {
        Self(vec![FORM])
    }
}

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Ids, scopes and audiences are all far shorter than 65,536 bytes.
    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.bytes(&length.to_be_bytes());
        self.bytes(&text.as_bytes()[..usize::from(length)]);
    }

    fn kind(&mut self, kind: SubjectKind) {
        self.0.push(match kind {
            SubjectKind::Client => 0,
            SubjectKind::User => 1,
        });
    }

    /// At most as many as the configuration may name.
    fn audience(&mut self, audience: &Audience) {
        let count = u16::try_from(audience.names().len()).unwrap_or(u16::MAX);
        self.bytes(&count.to_be_bytes());
        audience.names().iter().take(usize::from(count)).for_each(|name| self.text(name));
    }

    fn time(&mut self, at: Timestamp) {
        self.bytes(&at.as_millis().to_be_bytes());
    }

    fn seen(&mut self, seen: Seen) {
        self.bytes(&seen.epoch.0.to_be_bytes());
        self.bytes(&seen.position.0.to_be_bytes());
    }

    fn optional<const N: usize>(&mut self, value: Option<&[u8; N]>) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            self.bytes(value);
        }
    }
}

struct Reader<'c>(&'c [u8]);

impl<'c> Reader<'c> {
    fn of(content: &'c [u8]) -> Option<Self> {
        let (form, rest) = content.split_first()?;
        (*form == FORM).then_some(Self(rest))
    }

    fn take(&mut self, length: usize) -> Option<&'c [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'c str> {
        let length = u16::from_be_bytes(self.bytes()?);
        str::from_utf8(self.take(usize::from(length))?).ok()
    }

    fn kind(&mut self) -> Option<SubjectKind> {
        match self.bytes()? {
            [0] => Some(SubjectKind::Client),
            [1] => Some(SubjectKind::User),
            _ => None,
        }
    }

    fn audience(&mut self) -> Option<Audience> {
        let count = u16::from_be_bytes(self.bytes()?);
        let names: Option<Vec<String>> = (0..count).map(|_| self.text().map(str::to_owned)).collect();
        names.map(Audience::new)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(i64::from_be_bytes(self.bytes()?)))
    }

    fn seen(&mut self) -> Option<Seen> {
        let epoch = Epoch(u64::from_be_bytes(self.bytes()?));
        Some(Seen { epoch, position: Position(u64::from_be_bytes(self.bytes()?)) })
    }

    /// The outer `None`: what cannot be read.
    fn optional<const N: usize>(&mut self) -> Option<Option<[u8; N]>> {
        match self.bytes()? {
            [0] => Some(None),
            [1] => self.bytes().map(Some),
            _ => None,
        }
    }

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use grantry_protocol::{Lifetime, Slot};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn token(authority: Authority, audience: Vec<String>) -> AccessToken {
        let slot = Slot::of_user(
            "a client with \"quotes\"".parse().unwrap(),
            "somebody".parse().unwrap(),
            ScopeSet::parse("read write").unwrap(),
            Audience::new(audience),
            AccessTokenFormat::Opaque,
        );
        AccessToken::issue(TokenId::from_bytes([3; 16]), slot, authority, NOW, Lifetime::from_secs(60))
    }

    fn authority() -> Authority {
        Authority {
            seen: Seen { epoch: Epoch(3), position: Position(u64::MAX) },
            grant: Some(GrantId::from_bytes([1; 16])),
            session: Some(SessionId::from_bytes([2; 16])),
        }
    }

    fn grant(slot: Option<SlotKey>) -> Grant {
        let token = token(authority(), vec!["https://a.example/".into()]);
        Grant {
            id: GrantId::from_bytes([1; 16]),
            slot,
            client_id: token.client_id,
            subject: token.subject,
            subject_kind: SubjectKind::Client,
            scope: token.scope,
            audience: token.audience,
            session: token.authority.session,
            seen: token.authority.seen,
            created_at: NOW,
            expires_at: Timestamp::from_millis(NOW.as_millis() + 7),
            idle_expires_at: Timestamp::from_millis(NOW.as_millis() + 5),
            counter: 0,
            rotated_at: Timestamp::from_millis(NOW.as_millis() + 3),
            access_token: token.id,
            status_index: None,
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let names = || vec!["https://a.example/".into(), "b".into()];
        for token in [token(authority(), names()), token(Seen::NOTHING.into(), Vec::new())] {
            assert_eq!(read_token(token.id, &write_token(&token)), Some(token));
        }
    }

    #[test]
    fn a_grant_is_read_as_it_was_written() {
        for grant in [grant(None), grant(Some(SlotKey::from_bytes([7; SlotKey::LEN])))] {
            assert_eq!(read_grant(grant.id, &write_grant(&grant)), Some(grant));
        }
    }

    #[test]
    fn what_was_cut_or_goes_on_is_not_read() {
        let (token, grant) = (token(authority(), vec!["b".into()]), grant(None));
        let (written_token, written_grant) = (write_token(&token), write_grant(&grant));
        for at in 0..written_token.len() {
            assert_eq!(read_token(token.id, &written_token[..at]), None, "{at}");
        }
        for at in 0..written_grant.len() {
            assert_eq!(read_grant(grant.id, &written_grant[..at]), None, "{at}");
        }
        assert_eq!(read_token(token.id, &[&written_token[..], &[0]].concat()), None);
        assert_eq!(read_grant(grant.id, &[&written_grant[..], &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_token(TokenId::from_bytes([0; 16]), &content);
            let _ = read_grant(GrantId::from_bytes([0; 16]), &content);
        }
    }
}
