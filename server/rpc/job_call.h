// Unary calls about jobs: they wait for disks, so they run on the job service's threads.
//
// Thread-safety: thread-safe. The server's shutdown waits for them (RpcState::Began and Ended).
#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/jobs/job_service.h"
#include "server/rpc/handler.h"

namespace haarflow {

inline absl::Status NoJobs() {
  return absl::FailedPreconditionError("this server keeps no jobs: start it with --jobs DIR");
}

// A unary call whose answer comes later, on any thread, by `done`, which must be called once. The reactor is the call's
// one DefaultReactor(), to be returned to gRPC; the context is not to be touched once `done` may have been called.
template <class Response>
struct LaterAnswer {
  grpc::ServerUnaryReactor* reactor = nullptr;
  std::function<void(absl::StatusOr<Response>)> done;
};
template <class Response>
LaterAnswer<Response> AnswerLater(RpcCall admitted, grpc::CallbackServerContext* context, Response* response) {
  RpcState* state = &admitted.state();
  state->Began();
  auto call = std::make_shared<RpcCall>(std::move(admitted));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  return {reactor, [state, call, reactor, response](absl::StatusOr<Response> answer) {
            if (answer.ok()) *response = *std::move(answer);
            const grpc::Status end = call->End(answer.status());
            call->Count();
            state->Ended();  // the server's shutdown waits for the reactor
            reactor->Finish(end);
          }};
}

// OK for a caller who may, on a server that keeps jobs and does not drain.
inline absl::Status AdmitJobs(const RpcCall& call, const JobService* jobs, Role role) {
  absl::Status admitted = call.Admit(role);
  return admitted.ok() && jobs == nullptr ? NoJobs() : admitted;
}

// Runs `work` (-> StatusOr<Response>) on the service's threads and answers with what it returns.
template <class Response, class Work>
grpc::ServerUnaryReactor* RunLater(RpcCall call, JobService* jobs, Role role, grpc::CallbackServerContext* context,
                                   Response* response, Work work, bool urgent = false) {
  const LogScope scope(call.log_fields());
  const absl::Status refused = AdmitJobs(call, jobs, role);
  if (!refused.ok()) return Answer(std::move(call), context, refused);
  const LaterAnswer<Response> answer = AnswerLater<Response>(std::move(call), context, response);
  const bool taken = jobs->Post([done = answer.done, work = std::move(work)] { done(Handled(work)); }, urgent);
  if (!taken) answer.done(absl::UnavailableError("the server stops"));
  return answer.reactor;
}

}  // namespace haarflow
