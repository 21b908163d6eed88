//! Writes down how often the gate errs. Prediction: of those who have enough, not one in twenty is told otherwise, on any
//! machine; and of those who have a quarter of the gain or less, not one in a hundred passes.

use anyhow::{Context, Result};
use labs::gate::simulation::{RESULTS, simulate};
use std::{fs, path::Path};

fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(RESULTS);
    let simulation = simulate();
    fs::write(&path, simulation.json()?).with_context(|| path.display().to_string())?;
    println!(
        "{:.2} % pass wrongly, and {:.2} % of the worst kind; {:.2} % fail wrongly, and {:.2} % of the worst kind",
        simulation.false_passes_percent,
        simulation.false_passes_percent_worst,
        simulation.false_fails_percent,
        simulation.false_fails_percent_worst
    );
    Ok(())
}
