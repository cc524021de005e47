# Each recipe is one command, for those who have no `just`.

# The main job: measure everything, write reports/out/<run>/index.html
bench *arguments:
    cargo lab bench {{arguments}}

# The same in about a minute
bench-quick *arguments:
    cargo lab bench --quick {{arguments}}

# All tests
test:
    cargo test --workspace

# What a change must pass
ci:
    .ci/run

# Render the report of an earlier run again
report run:
    cargo lab report {{run}}

# Formatting and lints
lint:
    cargo fmt --all --check && cargo clippy --workspace --all-targets --all-features -- -D warnings

# The documentation
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features
