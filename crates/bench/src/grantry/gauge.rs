//! A figure that a server gives about itself, in the text format of Prometheus.

/// The value of the gauge `name`, its series added up; `None` if there is no such gauge.
pub fn read(exposition: &str, name: &str) -> Option<f64> {
    let values = exposition.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_gauge_are_added_up() {
        let text =
            "# TYPE depth gauge\ndepth 3\ndepth_max 9\nwide{a=\"}\",b=\"2\"} 4\nwide{a=\"y\"} 1 1760000000\n";
        assert_eq!(read(text, "depth"), Some(3.0));
        assert_eq!(read(text, "wide"), Some(5.0));
        assert_eq!(read(text, "deep"), None);
    }
}
