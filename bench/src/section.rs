//! What a measurement has to say of its result: figures against targets, plots and tables.

use crate::report::plot::Plot;
use crate::run::table::{Table, number};

/// What a measurement has to say.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    /// What was measured, and how, in a few sentences.
    pub about: &'static str,
    pub targets: Vec<Target>,
    pub plots: Vec<Plot>,
    pub tables: Vec<Table>,
}

/// What a figure is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub what: String,
    /// None: was not measured.
    pub measured: Option<f64>,
    pub bound: Bound,
    /// What would be better still.
    pub stretch: Option<f64>,
    pub unit: &'static str,
}

/// Which side of a target is the good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// How a figure stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stretch,
    Hit,
    Missed,
    NotMeasured,
}

impl Target {
    pub fn outcome(&self) -> Outcome {
        let is_within = |measured: f64, bound: f64| match self.bound {
            Bound::AtLeast(_) => measured >= bound,
            Bound::AtMost(_) => measured <= bound,
        };
        let (Bound::AtLeast(bound) | Bound::AtMost(bound)) = self.bound;
        match (self.measured, self.stretch) {
            (None, _) => Outcome::NotMeasured,
            (Some(measured), Some(stretch)) if is_within(measured, stretch) => Outcome::Stretch,
            (Some(measured), _) if is_within(measured, bound) => Outcome::Hit,
            (Some(_), _) => Outcome::Missed,
        }
    }

    /// The bound in words, without its unit.
    pub fn bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
            Bound::AtMost(bound) => format!("≤ {}", number(bound)),
        }
    }
}

impl Outcome {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stretch => "hit, stretch too",
            Self::Hit => "hit",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_by_the_side_that_is_good() {
        let target = |measured, bound, stretch| {
            Target { what: String::new(), measured, bound, stretch, unit: "" }.outcome()
        };
        use Bound::{AtLeast, AtMost};
        assert_eq!(target(Some(7.0), AtLeast(7.0), Some(9.0)), Outcome::Hit);
        assert_eq!(target(Some(9.1), AtLeast(7.0), Some(9.0)), Outcome::Stretch);
        assert_eq!(target(Some(6.9), AtLeast(7.0), None), Outcome::Missed);
        assert_eq!(target(Some(15.0), AtMost(16.0), Some(6.0)), Outcome::Hit);
        assert_eq!(target(Some(17.0), AtMost(16.0), Some(6.0)), Outcome::Missed);
        assert_eq!(target(None, AtMost(16.0), None), Outcome::NotMeasured);
    }
}
