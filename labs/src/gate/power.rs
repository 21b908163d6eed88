//! Where the machine's power comes from. On a battery the processor is slowed down when it likes, which looks like noise.

use std::{fs, path::Path};

/// Where Linux lists the supplies.
const SUPPLIES: &str = "/sys/class/power_supply";

/// Where the power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// From the wall, as far as anybody knows: a machine without supplies that it could list has no battery either.
    Wall,
    /// From a battery.
    Battery,
}

impl Power {
    /// Of this machine, now.
    pub fn now() -> Self {
        Self::of(Path::new(SUPPLIES))
    }

    /// What the supplies listed in this directory say.
    fn of(supplies: &Path) -> Self {
        let entries = fs::read_dir(supplies).into_iter().flatten().flatten();
        let is_drained = entries.map(|entry| entry.path()).any(|supply| {
            let says = |name: &str, word: &str| {
                fs::read_to_string(supply.join(name)).is_ok_and(|text| text.trim() == word)
            };
            // A mouse has a battery too, and its scope is the mouse.
            says("type", "Battery") && says("status", "Discharging") && !says("scope", "Device")
        });
        if is_drained { Self::Battery } else { Self::Wall }
    }

    /// What to do before it is measured again.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Wall => "Close what else is running, and check again.",
            Self::Battery => {
                "This machine runs on its battery, which slows processors down: plug it in, close what else is \
                 running, and check again."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(list: &[(&str, &[(&str, &str)])]) -> Power {
        let directory = tempfile::tempdir().unwrap();
        for (name, files) in list {
            let supply = directory.path().join(name);
            fs::create_dir(&supply).unwrap();
            for (file, text) in *files {
                fs::write(supply.join(file), format!("{text}\n")).unwrap();
            }
        }
        Power::of(directory.path())
    }

    #[test]
    fn a_battery_that_drains_is_seen() {
        let mains = ("AC", &[("type", "Mains"), ("online", "0")][..]);
        let battery = ("BAT0", &[("type", "Battery"), ("status", "Discharging")][..]);
        assert_eq!(supplies(&[mains, battery]), Power::Battery);
        assert!(supplies(&[mains, battery]).advice().contains("plug it in"));
    }

    #[test]
    fn a_full_battery_a_mouse_and_no_battery_are_no_reason_to_worry() {
        assert_eq!(supplies(&[("BAT0", &[("type", "Battery"), ("status", "Full")])]), Power::Wall);
        let mouse = [("type", "Battery"), ("status", "Discharging"), ("scope", "Device")];
        assert_eq!(supplies(&[("hidpp_battery_0", &mouse)]), Power::Wall);
        assert_eq!(supplies(&[]), Power::Wall);
        assert_eq!(Power::of(Path::new("/there/is/no/such/directory")), Power::Wall);
    }
}
