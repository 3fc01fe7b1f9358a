//! The comparison of modes with the contenders that need no server of ours.

use crate::program::figures;

const BRIEFLY: [&str; 11] = [
    "modes",
    "--only",
    "baseline-grouped,baseline-single",
    "--callers",
    "3",
    "--rounds",
    "2",
    "--seconds",
    "0.2",
    "--warmup",
    "0",
];

#[test]
fn contenders_are_compared_under_conditions_that_hold_with_their_rows_checked() {
    let (text, json) = figures(&BRIEFLY);
    let cells = json["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4 * 2);
    for cell in cells {
        let rounds = cell["figures"].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{cell}");
        for figure in rounds {
            let rows = |name: &str| figure["rows"][name].as_u64().unwrap();
            assert!(rows("answered") > 0, "{cell}");
            assert_eq!(rows("after") - rows("before"), rows("answered"), "{cell}");
        }
    }
    assert_eq!(text.matches("| flush + 4 ms").count(), 1, "{text}");
    assert!(text.contains("fsync=on, synchronous_commit=on"), "{text}");
    let quickest = |condition: &str| {
        let of_it = cells.iter().filter(|cell| cell["condition"] == condition);
        of_it.map(|cell| cell["figures"][0]["latency_us"]["p50"].as_u64().unwrap()).min().unwrap()
    };
    // Each answer waits for a round trip and a flush at least.
    let median = ["far", "flush-1", "flush-4"].map(quickest);
    assert!(median[0] >= 1_000 && median[1] >= 1_000 && median[2] >= 4_000, "{median:?}");
}
