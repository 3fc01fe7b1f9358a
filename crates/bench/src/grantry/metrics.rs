/// What a server says of itself, in the text format of Prometheus.
pub struct Metrics(pub String);

impl Metrics {
    /// The value of `name`, the series that have all of `labels` added up; `None` if there is no such series. Labels whose
    /// values hold quotes or commas are not understood.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (series, value) = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let has = |label: &String| series.split(',').any(|part| part == label);
            wanted.iter().all(has).then(|| value.split_whitespace().next()?.parse::<f64>().ok()).flatten()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// The same of a counter, which a server may not show before it has counted anything.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.value(name, labels).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_metric_are_added_up() {
        let text =
            "# TYPE depth gauge\ndepth 3\ndepth_max 9\nwide{a=\"}\",b=\"2\"} 4\nwide{a=\"y\"} 1 1760000000\n";
        let metrics = Metrics(text.into());
        assert_eq!(metrics.value("depth", &[]), Some(3.0));
        assert_eq!(metrics.value("wide", &[]), Some(5.0));
        assert_eq!(metrics.value("deep", &[]), None);
        assert_eq!(metrics.count("deep", &[]), 0.0);
    }

    #[test]
    fn only_the_series_with_the_labels_are() {
        let metrics = Metrics(
            "hits{cache=\"a\",tier=\"x\"} 4\nhits{cache=\"a\",tier=\"y\"} 1\nhits{cache=\"b\"} 9\n".into(),
        );
        assert_eq!(metrics.value("hits", &[("cache", "a")]), Some(5.0));
        assert_eq!(metrics.value("hits", &[("tier", "y"), ("cache", "a")]), Some(1.0));
        assert_eq!(metrics.value("hits", &[("cache", "c")]), None);
    }
}
