/// Another one begins each round, and every other round goes backwards, so that none always follows the same.
pub fn in_turn<T>(mut lanes: Vec<T>, round: u32) -> Vec<T> {
    if lanes.is_empty() {
        return lanes;
    }
    let first = round as usize / 2 % lanes.len();
    lanes.rotate_left(first);
    if round % 2 == 1 {
        lanes.reverse();
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_all_lanes_in_another_order() {
        let orders: Vec<_> = (0..4).map(|round| in_turn(vec![1, 2, 3], round)).collect();
        assert_eq!(orders, [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]]);
        assert!(in_turn(Vec::<u8>::new(), 1).is_empty());
    }
}
