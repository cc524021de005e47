//! A program that does not call `init()` (this test binary, which lacks `test_worker!`) gets an error, not a fork bomb.

use executor_core::{BuildError, ProcessPoolExecutor};

#[test]
fn a_missing_init_is_an_error_that_names_the_cure() {
    let error = ProcessPoolExecutor::new(1).unwrap_err();
    assert!(matches!(error, BuildError::MissingInit));
    assert!(error.to_string().contains("first line of main"), "{error}");
    // What `?` in `main` shows.
    assert!(format!("{error:?}").contains("first line of main"), "{error:?}");
}
