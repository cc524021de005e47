//! What must not build, and says why.

#[test]
fn tasks_that_cannot_travel_are_refused_at_compile_time() {
    let cases = trybuild::TestCases::new();
    // The refusals depend on the size of a type, which is known only when code is generated. trybuild generates code only
    // when a case that must build is among them.
    cases.pass("tests/compile_fail/portable.rs");
    cases.compile_fail("tests/compile_fail/capturing_closure.rs");
    cases.compile_fail("tests/compile_fail/function_pointer.rs");
    cases.compile_fail("tests/compile_fail/not_serialisable.rs");
    cases.compile_fail("tests/compile_fail/called_function.rs");
}
