//! A supervisor that survives a panic.
//!
//! actix's own restarts an actor that stopped; a panic drops it, its mailbox and its address. This one polls the
//! actor's context under `catch_unwind` and restarts it in place: the same address, the messages behind the panic are
//! handled, futures in flight are lost. What must outlive a panic belongs outside the actor.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::{Actor, Context, Supervised};

/// Restarts that are granted before the actor is given up.
const MAX_RESTARTS: u32 = 1_000;

/// Drives a supervised actor; spawn it on the actor's arbiter.
pub struct Guardian<A: Supervised + Actor<Context = Context<A>>> {
    context: Pin<Box<ContextFut<A, Context<A>>>>,
    restarts: u32,
    on_panic: Box<dyn Fn(u32)>,
}

impl<A: Supervised + Actor<Context = Context<A>>> Guardian<A> {
    /// Wraps `context`; `on_panic` is told of each panic, with the number of restarts so far.
    pub fn new(context: ContextFut<A, Context<A>>, on_panic: impl Fn(u32) + 'static) -> Self {
        Self { context: Box::pin(context), restarts: 0, on_panic: Box::new(on_panic) }
    }
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Guardian<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match catch_unwind(AssertUnwindSafe(|| this.context.as_mut().poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {}
                Err(_) => {
                    this.restarts += 1;
                    (this.on_panic)(this.restarts);
                    if this.restarts > MAX_RESTARTS {
                        return Poll::Ready(());
                    }
                }
            }
            // `restart` is false when nobody can send to the actor any more
            if !this.context.restart() {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use actix::{AsyncContext, Handler, Message, System};

    use super::*;

    struct Fragile(Rc<Cell<u32>>);

    impl Actor for Fragile {
        type Context = Context<Self>;
    }
    impl Supervised for Fragile {}

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Add(u32);

    impl Handler<Add> for Fragile {
        type Result = u32;
        fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u32 {
            assert!(n != 13, "injected");
            self.0.set(self.0.get() + n);
            self.0.get()
        }
    }

    #[test]
    fn an_actor_survives_its_panic_with_the_same_address_and_handles_what_was_behind_it() {
        System::new().block_on(async {
            let (total, panics) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let context = Context::new();
            let address = context.address();
            let seen = Rc::clone(&panics);
            let future = context.into_future(Fragile(Rc::clone(&total)));
            actix_rt::spawn(Guardian::new(future, move |n| seen.set(n)));
            let (first, lost, last) = (address.send(Add(1)), address.send(Add(13)), address.send(Add(2)));
            assert_eq!(first.await.unwrap(), 1);
            assert!(lost.await.is_err(), "the message that panicked has no answer");
            assert_eq!(last.await.unwrap(), 3);
            assert_eq!(panics.get(), 1);
        });
    }
}
