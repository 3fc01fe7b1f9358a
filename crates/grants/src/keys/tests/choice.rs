use super::*;
use crate::keys::snapshot::{Line, Snapshot};
use grantry_store::KeyRecord;

/// Seconds after the start; `None` for never.
type At = Option<u64>;

/// A key of token MACs: version, active from, needed until, revoked at.
type Row = (u8, u64, At, At);

/// The keys; seconds after the start, and what is then: which key makes, which are accepted, the state of each.
type Case = (&'static [Row], u64, u8, &'static [u8], &'static [KeyState]);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn snapshot(rows: &[Row]) -> Snapshot {
    let rng = Counter::default();
    let seal = |(version, active_from, needed_until, revoked_at): Row| KeyRecord {
        purpose: KeyPurpose::TokenMac,
        version,
        sealed: master(7).seal(&rng, KeyPurpose::TokenMac, version, &[version; 32]),
        created_at: START,
        active_from: at(active_from),
        needed_until: needed_until.map(at),
        revoked_at: revoked_at.map(at),
    };
    let mut records: Vec<KeyRecord> = rows.iter().copied().map(seal).collect();
    for (purpose, plain) in [
        (KeyPurpose::ClientSecret, Line::ClientSecret.generate(&rng).unwrap()),
        (KeyPurpose::Signing, Line::Signing(Algorithm::EdDsa).generate(&rng).unwrap()),
    ] {
        let sealed = master(7).seal(&rng, purpose, 1, &plain);
        records.push(KeyRecord {
            purpose,
            version: 1,
            sealed,
            needed_until: None,
            revoked_at: None,
            ..records[0].clone()
        });
    }
    Snapshot::open(&records, &master(7), Algorithm::EdDsa, None).unwrap()
}

#[test]
fn what_a_key_is_good_for_depends_on_its_place_in_the_line_and_on_the_time() {
    use KeyState::{Active, Pending, Retired, Retiring, Revoked};
    let cases: &[Case] = &[
        (&[(1, 0, None, None)], 0, 1, &[1], &[Active]),
        // A rotation, as time goes by.
        (&[(1, 0, Some(99), None), (2, 10, None, None)], 9, 1, &[1, 2], &[Active, Pending]),
        (&[(1, 0, Some(99), None), (2, 10, None, None)], 10, 2, &[1, 2], &[Retiring, Active]),
        (&[(1, 0, Some(99), None), (2, 10, None, None)], 98, 2, &[1, 2], &[Retiring, Active]),
        (&[(1, 0, Some(99), None), (2, 10, None, None)], 99, 2, &[2], &[Retired, Active]),
        // Two waiting at once; the version tells keys of the same moment apart.
        (
            &[(1, 0, Some(99), None), (2, 10, Some(99), None), (3, 20, None, None)],
            5,
            1,
            &[1, 2, 3],
            &[Active, Pending, Pending],
        ),
        (
            &[(1, 0, Some(99), None), (2, 10, Some(99), None), (3, 10, None, None)],
            10,
            3,
            &[1, 2, 3],
            &[Retiring, Retiring, Active],
        ),
        // Revoked ones are nothing.
        (
            &[(1, 0, Some(99), None), (2, 10, None, Some(20)), (3, 10, None, None)],
            30,
            3,
            &[1, 3],
            &[Retiring, Revoked, Active],
        ),
        (&[(1, 0, None, None), (2, 10, None, Some(5))], 30, 1, &[1], &[Active, Revoked]),
        (&[(1, 0, None, Some(5)), (2, 0, None, None)], 5, 2, &[2], &[Revoked, Active]),
        // A clock that is behind: what is revoked later is so already, and the first key to come is used.
        (&[(1, 0, None, Some(50)), (2, 10, None, None)], 5, 2, &[2], &[Revoked, Active]),
        // Hashes of an earlier key stay.
        (&[(1, 0, None, None), (2, 10, None, None)], 1_000_000, 2, &[1, 2], &[Retiring, Active]),
    ];
    for (rows, seconds, makes, accepted, states) in cases {
        let (snapshot, now) = (snapshot(rows), at(*seconds));
        let keys = || snapshot.keys.iter().filter(|key| key.line() == Line::TokenMac);
        assert_eq!(
            snapshot.maker(Line::TokenMac, now).unwrap().record.version,
            *makes,
            "{rows:?} at {seconds}"
        );
        let taken: Vec<u8> =
            keys().filter(|key| key.is_accepted(now)).map(|key| key.record.version).collect();
        assert_eq!(&taken, accepted, "{rows:?} at {seconds}");
        let found: Vec<KeyState> = keys().map(|key| snapshot.state(key, now)).collect();
        assert_eq!(&found, states, "{rows:?} at {seconds}");
    }
}

#[test]
fn a_line_without_a_key_that_may_be_used_is_not_opened() {
    let records = snapshot(&[(1, 0, None, None)]).records();
    let all_revoked = records.iter().map(|record| KeyRecord { revoked_at: Some(START), ..record.clone() });
    let opened = Snapshot::open(&all_revoked.collect::<Vec<_>>(), &master(7), Algorithm::EdDsa, None);
    assert!(matches!(opened.err(), Some(KeyRingError::Missing("token_mac"))));
    let opened = Snapshot::open(&records, &master(7), Algorithm::Rs256, None);
    assert!(matches!(opened.err(), Some(KeyRingError::Missing("RS256"))));
}

#[test]
fn keys_that_changed_places_in_the_store_are_not_opened() {
    let mut records = snapshot(&[(1, 0, None, None), (2, 0, None, None)]).records();
    let (first, rest) = records.split_at_mut(1);
    std::mem::swap(&mut first[0].sealed, &mut rest[0].sealed);
    let opened = Snapshot::open(&records, &master(7), Algorithm::EdDsa, None);
    assert!(matches!(opened.err(), Some(KeyRingError::WrongMasterKey { .. })));
}
