// gRPC's callback API without gRPC, as far as server/rpc/pull_reactor.h uses it, so that ThreadSanitizer sees the
// reactors with all that happens around them: the distribution's gRPC is not instrumented.
//
// What gRPC promises is kept, and no more: reactions come on several threads and may overlap (OnCancel with
// OnWriteDone); nothing is written before the handler has returned (Accept); OnDone is the last, once Finish was called
// and no other reaction runs. What gRPC forbids ends the process: a second write before the first is done, a write
// after Finish, a second Finish. The client hears of the end after the last write.
#pragma once

#include <grpcpp/support/status.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace grpc {
namespace fake {

inline void Check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "the reactor breaks gRPC's rules: %s\n", what);
  std::abort();
}

// The transport's threads.
class Transport {
 public:
  explicit Transport(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  // What was posted is run first.
  ~Transport() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void Post(std::function<void()> work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || !work_.empty(); });
      if (work_.empty()) return;
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

// Who reads. `on_message` may block, as a stopped client does; false: the connection broke.
template <class Response>
struct Client {
  std::function<bool(const Response&)> on_message;
  std::function<void(const Status&)> on_end;
};

}  // namespace fake

template <class Response>
class ServerWriteReactor {
 public:
  // One stream: outlives the reactor, which may delete itself in OnDone.
  class Stream : public std::enable_shared_from_this<Stream> {
   public:
    // The client goes away, or its deadline passes. At any time.
    void Cancel() {
      std::lock_guard<std::mutex> lock(mutex_);
      if (ended_ || std::exchange(cancelled_, true)) return;
      Begin([this] { reactor_->OnCancel(); });
    }

   private:
    friend class ServerWriteReactor;
    explicit Stream(ServerWriteReactor* reactor) : reactor_(reactor) {}

    void Bind(fake::Transport* transport, fake::Client<Response> client) {
      std::lock_guard<std::mutex> lock(mutex_);
      client_ = std::move(client);
      transport_ = transport;
      for (auto& reaction : std::exchange(waiting_, {})) Post(std::move(reaction));
    }
    void Write(const Response* message) {
      std::lock_guard<std::mutex> lock(mutex_);
      fake::Check(!finished_, "a write after Finish");
      fake::Check(!std::exchange(writing_, true), "two writes at once");
      Begin([this, message] {
        bool sent = false;
        {
          std::lock_guard<std::mutex> inner(mutex_);
          sent = !cancelled_;
        }
        if (sent) sent = client_.on_message(*message);
        if (!sent) Cancel();  // a broken connection is a cancelled call, too
        {
          std::lock_guard<std::mutex> inner(mutex_);
          writing_ = false;
          if (finished_) BeginEnd();
        }
        reactor_->OnWriteDone(sent);
      });
    }
    void End(Status status) {
      std::lock_guard<std::mutex> lock(mutex_);
      fake::Check(!std::exchange(finished_, true), "a second Finish");
      status_ = std::move(status);
      if (!writing_) BeginEnd();
    }

    // All of these with the lock.
    void BeginEnd() {
      Begin([this] {
        Status told;
        {
          std::lock_guard<std::mutex> inner(mutex_);
          ended_ = true;
          told = cancelled_ ? Status(StatusCode::CANCELLED, "") : status_;
        }
        client_.on_end(told);
      });
    }
    // `reaction` will run, and OnDone after it.
    void Begin(std::function<void()> reaction) {
      ++reactions_;
      auto whole = [self = this->shared_from_this(), reaction = std::move(reaction)] {
        reaction();
        bool done = false;
        {
          std::lock_guard<std::mutex> inner(self->mutex_);
          done = --self->reactions_ == 0 && self->ended_ && !std::exchange(self->done_, true);
        }
        if (done) self->reactor_->OnDone();
      };
      transport_ != nullptr ? Post(std::move(whole)) : waiting_.push_back(std::move(whole));
    }
    void Post(std::function<void()> reaction) { transport_->Post(std::move(reaction)); }

    ServerWriteReactor* const reactor_;
    std::mutex mutex_;
    fake::Client<Response> client_;         // set before any reaction runs
    fake::Transport* transport_ = nullptr;  // until the handler has returned
    std::vector<std::function<void()>> waiting_;
    int reactions_ = 0;  // that run or will run
    Status status_;      // of Finish
    bool writing_ = false;
    bool finished_ = false;  // Finish was called
    bool ended_ = false;     // and the client will be told
    bool cancelled_ = false;
    bool done_ = false;
  };

  virtual ~ServerWriteReactor() = default;
  virtual void OnDone() = 0;
  virtual void OnCancel() {}
  virtual void OnWriteDone(bool /*ok*/) {}

  void StartWrite(const Response* message) { stream_->Write(message); }
  void Finish(const Status& status) { stream_->End(status); }

  // The handler has returned this reactor. The client's functions are called on the transport's threads.
  std::shared_ptr<Stream> Accept(fake::Transport* transport, fake::Client<Response> client) {
    const std::shared_ptr<Stream> stream = stream_;  // the reactor may be gone at once
    stream->Bind(transport, std::move(client));
    return stream;
  }

 private:
  const std::shared_ptr<Stream> stream_{new Stream(this)};
};

}  // namespace grpc
