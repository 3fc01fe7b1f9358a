use std::collections::BTreeMap;

/// How much more than is needed a record is raised by, so that the next tokens do not raise it again: ten minutes.
const SLACK: i64 = 10 * 60 * 1000;

/// The partitions of one table by the time that each begins at. They do not overlap; there may be gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stretches(BTreeMap<i64, Stretch>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub name: String,
    pub from: i64,
    /// The first that lies outside.
    pub until: i64,
    pub expires_until: i64,
    pub dropping: bool,
}

/// What a row needs: a partition at this time that stays until it has expired.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub at: i64,
    pub expires_at: i64,
}

impl Stretches {
    pub fn at(&self, at: i64) -> Option<&Stretch> {
        let (_, stretch) = self.0.range(..=at).next_back()?;
        (at < stretch.until).then_some(stretch)
    }

    pub fn covers(&self, wanted: &Wanted) -> bool {
        let is_good = |stretch: &Stretch| !stretch.dropping && wanted.expires_at <= stretch.expires_until;
        self.at(wanted.at).is_some_and(is_good)
    }

    /// By name, those that have to last longer, and until when.
    pub fn to_raise(&self, wanted: &[Wanted]) -> BTreeMap<String, i64> {
        let mut raised = BTreeMap::new();
        for wanted in wanted {
            let Some(stretch) = self.at(wanted.at) else { continue };
            if !stretch.dropping && wanted.expires_at > stretch.expires_until {
                let until = raised.entry(stretch.name.clone()).or_insert(i64::MIN);
                *until = wanted.expires_at.saturating_add(SLACK).max(*until);
            }
        }
        raised
    }

    pub fn raise(&mut self, name: &str, expires_until: i64) {
        for stretch in self.0.values_mut().filter(|stretch| stretch.name == name) {
            stretch.expires_until = stretch.expires_until.max(expires_until);
        }
    }

    pub fn insert(&mut self, stretch: Stretch) {
        self.0.insert(stretch.from, stretch);
    }

    /// From when until when a new partition for this time goes: where its width puts it, but for its neighbours.
    pub fn gap(&self, at: i64, width: i64) -> (i64, i64) {
        let aligned = at.div_euclid(width) * width;
        let before = self.0.range(..=at).next_back().map(|(_, stretch)| stretch.until);
        let after = self.0.range(at..).next().map(|(from, _)| *from);
        (
            before.map_or(aligned, |until| until.max(aligned)),
            after.map_or(aligned + width, |from| from.min(aligned + width)),
        )
    }
}

impl FromIterator<Stretch> for Stretches {
    fn from_iter<I: IntoIterator<Item = Stretch>>(stretches: I) -> Self {
        Self(stretches.into_iter().map(|stretch| (stretch.from, stretch)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(bounds: &[(i64, i64)]) -> Stretches {
        let stretch = |&(from, until): &(i64, i64)| Stretch {
            name: format!("tokens_{from}"),
            from,
            until,
            expires_until: until + 100,
            dropping: false,
        };
        bounds.iter().map(stretch).collect()
    }

    #[test]
    fn the_end_of_a_stretch_lies_outside() {
        let known = stretches(&[(0, 10), (10, 20), (30, 40)]);
        let begins = |at| known.at(at).map(|stretch| stretch.from);
        assert_eq!(
            [-1, 0, 9, 10, 20, 29, 30, 40].map(begins),
            [None, Some(0), Some(0), Some(10), None, None, Some(30), None]
        );
    }

    #[test]
    fn a_row_is_covered_where_its_partition_lasts_as_long() {
        let mut known = stretches(&[(0, 10)]);
        assert!(known.covers(&Wanted { at: 5, expires_at: 110 }));
        let long = Wanted { at: 5, expires_at: 111 };
        assert!(!known.covers(&long) && !known.covers(&Wanted { at: 10, expires_at: 0 }));
        let raise =
            known.to_raise(&[long, Wanted { at: 6, expires_at: 120 }, Wanted { at: 7, expires_at: 1 }]);
        assert_eq!(raise, BTreeMap::from([("tokens_0".to_owned(), 120 + SLACK)]));
        known.raise("tokens_0", 120 + SLACK);
        assert!(known.covers(&long));
    }

    #[test]
    fn nothing_is_covered_by_what_is_being_dropped() {
        let mut known = stretches(&[(0, 10)]);
        known.0.get_mut(&0).unwrap().dropping = true;
        assert!(!known.covers(&Wanted { at: 5, expires_at: 0 }));
        assert!(known.to_raise(&[Wanted { at: 5, expires_at: 1000 }]).is_empty());
    }

    #[test]
    fn a_new_partition_is_aligned_and_overlaps_no_neighbour() {
        type Bounds = (i64, i64);
        let cases: &[(&[Bounds], i64, Bounds)] = &[
            (&[], 25, (20, 30)),
            (&[], -1, (-10, 0)),
            (&[(20, 30)], 30, (30, 40)),
            (&[(20, 23)], 25, (23, 30)),
            (&[(27, 30)], 25, (20, 27)),
            (&[(15, 23), (26, 50)], 25, (23, 26)),
            (&[(0, 3), (90, 99)], 25, (20, 30)),
        ];
        for (known, at, wanted) in cases {
            assert_eq!(stretches(known).gap(*at, 10), *wanted, "{known:?} {at}");
        }
    }
}
