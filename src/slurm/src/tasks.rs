//! Parses the tasks of a job array: `1-5%2`, `1,3-4`, `1-99:7`. Slurm cuts off longer lists
//! after some 60 bytes: `1,3-4,7,...%3`.

use trimtab_core::text::start;

/// Limit on the tasks of one array that are counted: more than all nodes of the largest cluster
/// could run at once.
pub(crate) const TASKS_MAX: usize = 100_000;

/// Whether Slurm cut off the list.
pub(crate) fn is_cut(text: &str) -> bool {
    text.contains("...")
}

/// Returns the tasks, at most [`TASKS_MAX`]. The throttle (`%2`) is checked but not returned.
///
/// # Errors
/// When the text is not in this format or is cut off.
pub(crate) fn expand(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || {
        let start = start(text, 60);
        format!("`{start}` is not a list of tasks")
    };
    let (list, throttle) = text.split_once('%').unwrap_or((text, "0"));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<u32>().ok()).flatten().ok_or_else(wrong)
    };
    number(throttle)?;
    let mut tasks = vec![];
    for item in list.split(',') {
        let (range, step) = item.split_once(':').unwrap_or((item, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if first > last || step == 0 {
            return Err(wrong());
        }
        let room = TASKS_MAX.saturating_sub(tasks.len());
        let step = usize::try_from(step).map_err(|_| wrong())?;
        tasks.extend((first..=last).step_by(step).take(room));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_listed_as_slurm_writes_them() {
        for (text, tasks) in [
            ("7", vec![7]),
            ("1-5%2", vec![1, 2, 3, 4, 5]),
            ("0,3-4,9", vec![0, 3, 4, 9]),
            ("1-22:7%1", vec![1, 8, 15, 22]),
        ] {
            assert_eq!(expand(text), Ok(tasks), "{text}");
        }
        assert_eq!(expand("1-4000000").map(|tasks| tasks.len()), Ok(TASKS_MAX));
        for wrong in ["", "1-", "-1", "5-1", "1-9:0", "1-5%", "1-5%x", "1,,2", "+1", "1 ,2"] {
            assert_eq!(expand(wrong), Err(format!("`{wrong}` is not a list of tasks")));
        }
        let cut = "1,3-4,7-8,11,13-14,19,23,25,27-28,33,35-36,40,44-45,47-48,51...%3";
        assert!(is_cut(cut) && expand(cut).is_err() && !is_cut("1-5%2"));
    }
}
