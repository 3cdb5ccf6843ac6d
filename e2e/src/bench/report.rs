//! What was measured, as a table for people and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

/// One figure of a case: its samples by subject (`taffrail`, `kafka`, `floor`), in the order they were taken.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The case it belongs to, as `--case` names it.
    pub case: &'static str,
    /// What it is, with its unit.
    pub name: &'static str,
    /// Digits after the point that make sense.
    #[serde(skip)]
    pub digits: usize,
    /// The samples.
    pub samples: BTreeMap<&'static str, Vec<f64>>,
}

/// Smallest, middle and largest of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { min, median, max })
    }
}

/// All figures, in the order of the cases.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds one sample.
    pub fn add(
        &mut self,
        case: &'static str,
        name: &'static str,
        digits: usize,
        subject: &'static str,
        value: f64,
    ) {
        let index = match self.figures.iter().position(|f| f.case == case && f.name == name) {
            Some(index) => index,
            None => {
                self.figures.push(Figure { case, name, digits, samples: BTreeMap::new() });
                self.figures.len() - 1
            }
        };
        self.figures[index].samples.entry(subject).or_default().push(value);
    }

    /// The table: per figure the median of each subject, and the ratios as smallest / median / largest of the pairs.
    pub fn table(&self) -> String {
        let mut rows = vec![[
            "figure".to_owned(),
            "taffrail".to_owned(),
            "kafka".to_owned(),
            "floor".to_owned(),
            "taffrail/kafka min med max".to_owned(),
            "taffrail/floor min med max".to_owned(),
        ]];
        for figure in &self.figures {
            let median = |subject| match figure.samples.get(subject).and_then(|s| Spread::of(s)) {
                Some(spread) => format!("{:.*}", figure.digits, spread.median),
                None => "-".to_owned(),
            };
            rows.push([
                format!("{}: {}", figure.case, figure.name),
                median("taffrail"),
                median("kafka"),
                median("floor"),
                ratio(figure, "taffrail", "kafka"),
                ratio(figure, "taffrail", "floor"),
            ]);
        }
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut table = String::new();
        for row in rows {
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                if column == 0 {
                    table.push_str(&format!("{cell:<width$}"));
                } else {
                    table.push_str(&format!("  {cell:>width$}"));
                }
            }
            table.push('\n');
        }
        table
    }
}

/// The ratio of each pair taken together, not of the medians: what slows the machine slows both halves of a pair.
fn ratio(figure: &Figure, above: &str, below: &str) -> String {
    let (Some(above), Some(below)) = (figure.samples.get(above), figure.samples.get(below)) else {
        return "-".to_owned();
    };
    let ratios: Vec<f64> = above.iter().zip(below).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect();
    match Spread::of(&ratios) {
        Some(Spread { min, median, max }) => format!("{min:.2} {median:.2} {max:.2}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Spread};

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let mut report = Report::default();
        for (ours, theirs) in [(1.0, 2.0), (9.0, 3.0), (4.0, 4.0)] {
            report.add("case", "MB/s", 0, "taffrail", ours);
            report.add("case", "MB/s", 0, "kafka", theirs);
        }
        assert!(report.table().contains("0.50 1.00 3.00"), "{}", report.table());
    }
}
