//! Values on their way to a worker process and back: the errors of types that cannot travel, and how deep values may be nested.

mod pool_kinds;

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU8,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use executor_core::{
    BuildError, CancelToken, Executor, ProcessPoolExecutor, Promise, ReturnWhen, StartMethod, TaskError, partial, wait,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap, SerializeSeq},
};

use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    what_a_type_says_arrives_from_both_sides_and_from_all_places,
    what_a_library_s_type_says_arrives_as_well,
    a_field_that_is_left_out_is_an_error_and_no_other_field,
    deep_values_travel_where_there_is_stack_for_them,
    values_that_are_too_deep_cost_their_own_task,
    a_wait_for_the_first_error_decodes_each_result_once,
    a_value_that_miscounts_is_an_error_and_no_other_value,
    a_text_that_changes_while_it_is_written_harms_no_other_value,
);

fn pool(kind: Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(1).build().unwrap()
}

/// Says where it is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragile {
    Good,
    NotWritten,
    NotRead,
    /// Panics.
    Dropped,
}

use Fragile::{Dropped, Good, NotRead, NotWritten};

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Good => 0_u8.serialize(serializer),
            NotWritten => Err(S::Error::custom("the connection is closed")),
            NotRead => 7_u8.serialize(serializer),
            Dropped => panic!("dropped on the floor"),
        }
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Good),
            other => Err(D::Error::custom(format_args!("{other} is not a color"))),
        }
    }
}

/// Deep enough in other values to be met there.
type Wrapped = (u8, Vec<Option<(String, Fragile)>>);

fn wrapped(fragile: Fragile) -> Wrapped {
    (1, vec![None, Some(("text".to_owned(), fragile))])
}

const CASES: [(Fragile, &str); 3] =
    [(NotWritten, "the connection is closed"), (NotRead, "7 is not a color"), (Dropped, "dropped on the floor")];

/// The whole text of the error, after a check of which one it is.
fn told(error: &TaskError, what: &str, fragile: Fragile) -> String {
    match error {
        TaskError::Encode { what: told, .. } if fragile != NotRead => assert_eq!(told, what),
        TaskError::Decode { what: told, .. } if fragile == NotRead => assert_eq!(told, what),
        other => panic!("{other:?}"),
    }
    error.to_string()
}

fn what_a_type_says_arrives_from_both_sides_and_from_all_places(kind: Kind) {
    let pool = pool(kind);
    for (fragile, text) in CASES {
        // A panic has its place instead of the type's name.
        let place = if fragile == Dropped { "values.rs" } else { "Fragile" };
        let has_all = |error: String| assert!(error.contains(text) && error.contains(place), "{error}");
        let argument = pool.submit(|_: Wrapped| (), wrapped(fragile)).unwrap().result().unwrap_err();
        has_all(told(&argument, "argument", fragile));
        let several = pool.submit(|_: u64, _: Wrapped| (), (1, wrapped(fragile))).unwrap().result().unwrap_err();
        has_all(told(&several, "argument", fragile));
        let configuration = partial(|_: u64, _: &Wrapped| (), wrapped(fragile));
        let error = pool.submit(configuration.clone(), 1).unwrap().result().unwrap_err();
        has_all(told(&error, "configuration", fragile));
        for error in pool.map(configuration.clone(), 0..3).chunk_size(3).map(Result::unwrap_err) {
            has_all(told(&error, "configuration", fragile));
        }
        let items = [Good, fragile, Good].map(wrapped);
        let results: Vec<_> = pool.map(|_: Wrapped| (), items).chunk_size(3).collect();
        assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())), "the others are not harmed");
        has_all(told(results[1].as_ref().unwrap_err(), "argument", fragile));

        let make = |number: u8| [Good, NotWritten, NotRead, Dropped].map(wrapped)[usize::from(number)].clone();
        let number = [Good, NotWritten, NotRead, Dropped].iter().position(|other| *other == fragile).unwrap() as u8;
        let result = pool.submit(make, number).unwrap().result().unwrap_err();
        let is_panic = |error: &TaskError| matches!(error, TaskError::Panicked { message, .. } if message == text);
        assert!(
            fragile == Dropped && is_panic(&result) || {
                has_all(told(&result, "result", fragile));
                true
            }
        );
        let results: Vec<_> = pool.map(make, [0, number, 0]).chunk_size(3).collect();
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        let error = results[1].as_ref().unwrap_err();
        assert!(
            fragile == Dropped && is_panic(error) || {
                has_all(told(error, "result", fragile));
                true
            }
        );

        let builder = || kind.builder().max_workers(1);
        let mut builders = vec![
            builder().initializer(|_: Wrapped| (), wrapped(fragile)),
            builder().initializer(configuration.clone(), 1),
        ];
        if kind.method == StartMethod::ForkServer {
            builders.push(builder().preload(|_: Wrapped| (), wrapped(fragile)));
            builders.push(builder().preload(configuration, 1));
        }
        for builder in builders {
            match builder.build() {
                Err(error @ BuildError::Encode(_)) if fragile != NotRead => has_all(format!("{error:?}")),
                Err(error) => panic!("{error:?}"),
                Ok(pool) => has_all(pool.submit(|| (), ()).unwrap().result().unwrap_err().to_string()),
            }
        }
    }
    assert_eq!(pool.stats().died, 0);
}

fn what_a_library_s_type_says_arrives_as_well(kind: Kind) {
    use std::os::unix::ffi::OsStringExt as _;

    let pool = pool(kind);
    let path = PathBuf::from(std::ffi::OsString::from_vec(vec![0xff]));
    let error = pool.submit(|_: PathBuf| (), path).unwrap().result().unwrap_err().to_string();
    assert!(error.contains("path contains invalid UTF-8 characters") && error.contains("PathBuf"), "{error}");
    let mutex = Mutex::new(1_u8);
    thread::scope(|scope| {
        let poison = || {
            let _guard = mutex.lock();
            std::panic::resume_unwind(Box::new(()));
        };
        assert!(scope.spawn(poison).join().is_err());
    });
    let error = pool.submit(|_: Mutex<u8>| (), mutex).unwrap().result().unwrap_err().to_string();
    assert!(error.contains("poison"), "{error}");
    let error = pool.submit(CancelToken::new, ()).unwrap().result().unwrap_err().to_string();
    assert!(error.contains("CancelToken"), "{error}");
    // Their bytes are the same, and what the second one asks for is not in the first.
    #[derive(Debug, Deserialize)]
    struct Small(#[expect(dead_code, reason = "only whether it can be read matters")] NonZeroU8);
    impl Serialize for Small {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct("Small", &0_u8)
        }
    }
    let small = Small(NonZeroU8::new(1).unwrap());
    let error = pool.submit(|_: Small| (), small).unwrap().result().unwrap_err().to_string();
    assert!(error.contains("expected a nonzero u8"), "{error}");
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
    }
    let error = pool.submit(|_: Either| (), Either::Text("x".to_owned())).unwrap().result().unwrap_err().to_string();
    assert!(error.contains("untagged"), "{error}");
}

fn a_field_that_is_left_out_is_an_error_and_no_other_field(kind: Kind) {
    #[derive(Default, Serialize, Deserialize)]
    struct Sparse {
        #[serde(default, skip_serializing_if = "is_zero")]
        first: u8,
        second: u8,
        third: u8,
    }
    fn is_zero(number: &u8) -> bool {
        *number == 0
    }
    let pool = pool(kind);
    let first = |sparse: Sparse, _: u8| (sparse.first, sparse.second, sparse.third);
    let error = pool.submit(first, (Sparse { second: 2, ..Sparse::default() }, 5)).unwrap().result().unwrap_err();
    assert!(error.to_string().contains("`first` is left out"), "{error}");
    let whole = Sparse { first: 1, second: 2, third: 3 };
    assert_eq!(pool.submit(first, (whole, 5)).unwrap().result(), Ok((1, 2, 3)));
}

/// Nested as deep as it is long.
#[derive(Default, Clone, Serialize, Deserialize)]
struct List(Option<Box<(u8, List)>>);

impl List {
    fn new(length: u64) -> Self {
        (0..length).fold(Self(None), |list, number| Self(Some(Box::new((number as u8, list)))))
    }

    fn length(&self) -> u64 {
        let mut list = self;
        let mut length = 0;
        while let Some(next) = &list.0 {
            (list, length) = (&next.1, length + 1);
        }
        length
    }
}

/// Without recursion, which would need stack as well.
impl Drop for List {
    fn drop(&mut self) {
        let mut left = self.0.take();
        while let Some(mut next) = left {
            left = next.1.0.take();
        }
    }
}

/// Runs `test` in a thread with so many KiB of stack, or up to four times that: the system keeps the stacks of others.
fn with_stack(kib: usize, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(kib << 10).spawn_scoped(scope, test).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Twice as deep as a thread could write or read it on its own stack: 300 bytes and more for each level, without optimizations
/// 4 KiB and more.
const DEEP: u64 = if cfg!(debug_assertions) { 4000 } else { 20_000 };

fn deep_values_travel_where_there_is_stack_for_them(kind: Kind) {
    let pool = pool(kind);
    with_stack(4 << 10, || {
        assert_eq!(pool.submit(List::new, DEEP).unwrap().result().unwrap().length(), DEEP);
        assert_eq!(pool.submit(|list: List| list.length(), List::new(DEEP)).unwrap().result(), Ok(DEEP));
        let configured = partial(|_: u64, list: &List| list.length(), List::new(DEEP));
        assert_eq!(pool.submit(configured, 1).unwrap().result(), Ok(DEEP));
        let mapped = pool.map(|list: List| list, [1, DEEP, 2].map(List::new)).chunk_size(3);
        assert_eq!(mapped.map(|list| list.unwrap().length()).collect::<Vec<_>>(), [1, DEEP, 2]);
    });
    assert_eq!(pool.stats().died, 0);
}

fn values_that_are_too_deep_cost_their_own_task(kind: Kind) {
    let pool = pool(kind);
    let too_deep = |error: TaskError| {
        let text = error.to_string();
        assert!(text.contains("nested too deep") && text.contains("larger stack"), "{text}");
        error
    };
    // For both sides.
    const NEVER: u64 = 50 * DEEP;
    let encode = |error| assert!(matches!(too_deep(error), TaskError::Encode { .. }));
    let decode = |error| assert!(matches!(too_deep(error), TaskError::Decode { .. }));
    let length = |list: List| list.length();
    encode(pool.submit(length, List::new(NEVER)).unwrap().result().map(drop).unwrap_err());
    encode(pool.submit(List::new, NEVER).unwrap().result().map(drop).unwrap_err());
    encode(pool.submit(partial(|_: u64, _: &List| (), List::new(NEVER)), 1).unwrap().result().unwrap_err());
    let results: Vec<_> = pool.map(length, [1, NEVER, 2].map(List::new)).chunk_size(3).collect();
    assert_eq!((&results[0], &results[2]), (&Ok(1), &Ok(2)));
    encode(results[1].clone().unwrap_err());
    let results: Vec<_> = pool.map(List::new, [1, NEVER, 2]).chunk_size(3).collect();
    assert_eq!(results.iter().map(|list| list.as_ref().map_or(0, List::length)).collect::<Vec<_>>(), [1, 0, 2]);
    // For this thread only, and its worker has more.
    with_stack(256, || {
        const WORKERS: u64 = 2 * DEEP;
        decode(pool.submit(List::new, WORKERS).unwrap().result().map(drop).unwrap_err());
        let results: Vec<_> = pool.map(List::new, [1, WORKERS, 2]).chunk_size(3).collect();
        assert_eq!(results.iter().map(|list| list.as_ref().map_or(0, List::length)).collect::<Vec<_>>(), [1, 0, 2]);
    });
    // For the worker only.
    with_stack(256 << 10, || {
        const OURS: u64 = 40 * DEEP;
        decode(pool.submit(length, List::new(OURS)).unwrap().result().unwrap_err());
        decode(pool.submit(partial(|_: u64, _: &List| (), List::new(OURS)), 1).unwrap().result().unwrap_err());
    });
    assert_eq!(pool.submit(|x: u64| x + 1, 1).unwrap().result(), Ok(2));
    assert_eq!(pool.stats().died, 0);
}

/// Counts how often this process reads one.
#[derive(Serialize)]
struct Read(u8);

static READ: AtomicUsize = AtomicUsize::new(0);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, Ordering::Relaxed);
        match u8::deserialize(deserializer)? {
            9 => Err(D::Error::custom("not nine")),
            other => Ok(Self(other)),
        }
    }
}

fn a_wait_for_the_first_error_decodes_each_result_once(kind: Kind) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pool = pool(kind);
    let before = READ.load(Ordering::Relaxed);
    let read = || READ.load(Ordering::Relaxed) - before;
    let futures: Vec<_> = (0..3).map(|number| pool.submit(Read, number).unwrap()).collect();
    for _ in 0..2 {
        let waited = wait(&futures, None, ReturnWhen::FirstError);
        assert_eq!((waited.done.len(), waited.not_done.len()), (3, 0));
    }
    assert!(read() <= 3, "read again by the second wait");
    let results: Vec<_> = futures.into_iter().map(|future| future.result().unwrap().0).collect();
    assert_eq!((results, read()), (vec![0, 1, 2], 3));
    // It is an error all the same, and is what the task gives.
    let bad = pool.submit(Read, 9).unwrap();
    let (_held, never) = Promise::<Read>::new();
    let waited = wait([&bad, &never], None, ReturnWhen::FirstError);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    let error = bad.result().map(|read| read.0).unwrap_err();
    assert!(matches!(error, TaskError::Decode { .. }) && error.to_string().contains("not nine"), "{error}");
    assert_eq!(read(), 4);
}

/// Not as many as it says.
#[derive(Debug, PartialEq, Eq)]
struct Miscounted(Vec<u8>);

impl Serialize for Miscounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(2))?;
        self.0.iter().try_for_each(|value| sequence.serialize_element(value))?;
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Miscounted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// The same for a map.
#[derive(Debug, PartialEq, Eq)]
struct MiscountedMap(Vec<u8>);

impl Serialize for MiscountedMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        self.0.iter().try_for_each(|value| map.serialize_entry(value, &()))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for MiscountedMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<u8, ()>::deserialize(deserializer).map(|map| Self(map.into_keys().collect()))
    }
}

/// Reads the first only, of a sequence or of a map.
#[derive(Debug, PartialEq, Eq)]
struct First<T>(T);

impl<T: Serialize> Serialize for First<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

struct ReadsFirst;

impl<'de> Visitor<'de> for ReadsFirst {
    type Value = Option<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value at least")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Option<u8>, A::Error> {
        sequence.next_element()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<u8>, A::Error> {
        Ok(map.next_entry::<u8, ()>()?.map(|(key, ())| key))
    }
}

impl<'de> Deserialize<'de> for First<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadsFirst).map(|first| Self(first.into_iter().collect()))
    }
}

impl<'de> Deserialize<'de> for First<BTreeMap<u8, ()>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadsFirst).map(|first| Self(first.into_iter().map(|key| (key, ())).collect()))
    }
}

/// What follows is not taken for what was promised, or for what was left.
fn a_value_that_miscounts_is_an_error_and_no_other_value(kind: Kind) {
    let pool = pool(kind);
    let written = |error: TaskError, text: &str| {
        assert!(matches!(error, TaskError::Encode { .. }) && error.to_string().contains(text), "{error}");
    };
    for values in [vec![1], vec![1, 2, 3]] {
        let text = format!("says that it has 2 elements, and gives {}", values.len());
        let task = |_: Miscounted, rest: Vec<u8>| rest;
        written(pool.submit(task, (Miscounted(values), vec![0, 0, 0])).unwrap().result().unwrap_err(), &text);
    }
    for values in [vec![], vec![1, 3]] {
        let text = format!("says that it has 1 elements, and gives {}", values.len());
        let task = |_: MiscountedMap, rest: (Vec<u16>, Vec<u16>)| rest;
        written(pool.submit(task, (MiscountedMap(values), (vec![5, 6], vec![]))).unwrap().result().unwrap_err(), &text);
    }
    let read = |outcome: Result<Vec<u16>, TaskError>| {
        let error = outcome.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TaskError::Decode { .. }) && text.contains("leaves 2 elements unread"), "{text}");
    };
    // Behind the first one stands what could be the other vector.
    read(pool.submit(|_: First<Vec<u8>>, rest| rest, (First(vec![5, 3, 7]), vec![9])).unwrap().result());
    let map = First([5, 3, 7].map(|key| (key, ())).into());
    read(pool.submit(|_: First<BTreeMap<u8, ()>>, rest| rest, (map, vec![9])).unwrap().result());
}

/// Another text each time.
#[derive(Debug, PartialEq, Eq)]
struct Changes(String);

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        f.write_str(&self.0.repeat(SEEN.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

fn a_text_that_changes_while_it_is_written_harms_no_other_value(kind: Kind) {
    let pool = pool(kind);
    for _ in 0..3 {
        let future = pool.submit(|_: Changes, rest: [u8; 3]| rest, (Changes("x".to_owned()), [1, 2, 3]));
        assert_eq!(future.unwrap().result(), Ok([1, 2, 3]));
    }
}
