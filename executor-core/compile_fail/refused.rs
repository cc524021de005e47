//! What must not build, and says why.

#[test]
fn tasks_that_cannot_travel_are_refused_at_compile_time() {
    let cases = trybuild::TestCases::new();
    // The refusals depend on the size of a type, which is known only when code is generated. trybuild generates code only
    // when a case that must build is among them.
    cases.pass("cases/portable.rs");
    cases.compile_fail("cases/capturing_closure.rs");
    cases.compile_fail("cases/function_pointer.rs");
    cases.compile_fail("cases/not_serializable.rs");
    cases.compile_fail("cases/called_function.rs");
}
