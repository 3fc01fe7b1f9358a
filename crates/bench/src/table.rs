/// A table in markdown, padded so that it reads well in a terminal too. The first column is text, the others numbers.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([header[column].chars().count(), 3]).max().unwrap_or(3)
        })
        .collect();
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let mut lines = vec![line(&header, &widths), rule(&widths)];
    lines.extend(rows.iter().map(|row| line(row, &widths)));
    lines.join("\n") + "\n"
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
}

fn rule(widths: &[usize]) -> String {
    let cells = widths.iter().enumerate().map(|(column, width)| {
        if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
    });
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// With commas between thousands, without a fraction.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds as milliseconds.
pub fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["issue".into(), "1".into()], vec!["reuse".into(), "12,345".into()]];
        assert_eq!(
            markdown(&["what", "a second"], &rows),
            "| what  | a second |\n| ----- | -------: |\n| issue |        1 |\n| reuse |   12,345 |\n"
        );
    }

    #[test]
    fn thousands_are_separated() {
        let shown: Vec<_> = [0.0, 12.4, 999.6, 12_345.0, 1_234_567.0].map(thousands).into();
        assert_eq!(shown, ["0", "12", "1,000", "12,345", "1,234,567"]);
    }
}
