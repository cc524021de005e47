use super::*;
use crate::Promise;

#[test]
fn what_was_yielded_takes_no_memory() {
    let mut set = as_completed([], None);
    for number in 0..100 {
        let (promise, future) = Promise::new();
        set.add((number, future));
        promise.set_result(number).unwrap();
        let (key, future) = set.next().unwrap().unwrap();
        assert_eq!((key, future.result()), (number, Ok(number)));
    }
    assert_eq!((set.entries.len(), set.free.len(), set.seen.len(), set.total), (1, 1, 0, 100));
}

#[test]
fn no_more_is_promised_than_is_yielded() {
    let (promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| Promise::<()>::new()).unzip();
    let mut set = as_completed(&futures[..3], Some(Duration::ZERO));
    assert_eq!(set.size_hint(), (1, Some(3)));
    assert!(set.next().is_some_and(|first| first.is_err()));
    assert_eq!((set.size_hint(), set.unfinished()), ((0, Some(0)), 3));
    assert!(set.next().is_none());
    set.add(&futures[3]);
    assert_eq!((set.next().is_none(), set.into_pending().len()), (true, 4));
    let mut set = as_completed(&futures, None);
    drop(promises);
    assert_eq!((set.size_hint(), set.by_ref().count(), set.size_hint()), ((4, Some(4)), 4, (0, Some(0))));
}

#[test]
fn a_copy_adds_to_a_set_of_its_own() {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut set = as_completed([], None);
        let of_program = set.set.clone();
        let _held = of_program.0.hold();
        // As if this were a copy.
        set.generation += 1;
        let (promise, future) = Promise::new();
        promise.set_result(7).unwrap();
        set.add(future);
        sender.send(set.next().unwrap().unwrap().result()).unwrap();
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(Ok(7)));
}

#[test]
fn those_left_come_in_the_order_in_which_they_were_put_in() {
    let (promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| Promise::<()>::new()).unzip();
    let mut set = as_completed(&futures[..3], None);
    set.add(&futures[0]);
    promises.into_iter().next().unwrap().set_result(()).unwrap();
    assert_eq!(set.next().unwrap().unwrap().id(), futures[0].id());
    set.add(&futures[3]);
    set.add(&futures[0]);
    assert_eq!((set.unfinished(), set.entries.len()), (3, 3));
    let left: Vec<_> = set.into_pending().into_iter().map(TaskFuture::id).collect();
    assert_eq!(left, futures[1..].iter().map(TaskFuture::id).collect::<Vec<_>>());
}
