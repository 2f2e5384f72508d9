//! Points at which a test may end the process, to see that what outlives it is enough to go on from.
//!
//! Without the feature `failpoints` there are none: the call compiles to nothing.

/// Ends the process here, as `kill -9` would, if the environment says `X402_FAILPOINT=name`, or `name:3` for the third
/// time that this is reached.
#[cfg(feature = "failpoints")]
pub fn failpoint(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    };

    static WANTED: LazyLock<Option<(String, usize)>> = LazyLock::new(|| {
        let wanted = std::env::var("X402_FAILPOINT").ok()?;
        let (name, nth) = wanted.rsplit_once(':').unwrap_or((&wanted, "1"));
        let nth = nth.parse().expect("X402_FAILPOINT is `name` or `name:nth`");
        Some((name.to_owned(), nth))
    });
    static REACHED: AtomicUsize = AtomicUsize::new(0);

    let Some((wanted, nth)) = &*WANTED else { return };
    if name == wanted && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        std::process::abort();
    }
}

/// Does nothing without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn failpoint(_name: &str) {}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const CHILD: &str = "X402_FAILPOINT_TEST";

    /// What a process that passes three points, one of them twice, came to.
    fn ends(wanted: &str) -> std::io::Result<bool> {
        let status = Command::new(std::env::current_exe()?)
            .args(["--exact", "failpoint::tests::the_process_ends_where_it_is_told_to"])
            .envs([(CHILD, "1"), ("X402_FAILPOINT", wanted)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(!status.success())
    }

    #[test]
    fn the_process_ends_where_it_is_told_to() {
        if std::env::var_os(CHILD).is_some() {
            ["before", "there", "after", "there"].into_iter().for_each(failpoint);
            return;
        }
        for (wanted, expected) in [
            ("before", true),
            ("there", true),
            ("there:1", true),
            ("there:2", true),
            ("there:3", false),
            ("nowhere", false),
        ] {
            assert_eq!(ends(wanted).unwrap(), expected, "{wanted}");
        }
    }
}
