#include "tests/service/cli_fake_service.h"

#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/base/digest.h"

namespace haarflow::testing {

void FakeService::SetTroubles(std::vector<FakeTrouble> troubles) {
  MutexLock lock(&mutex_);
  troubles_ = std::move(troubles);
}

std::vector<v1::SampleRequest> FakeService::requests() const {
  MutexLock lock(&mutex_);
  return requests_;
}

std::vector<v1::EstimatePartitionFunctionRequest> FakeService::partition_requests() const {
  MutexLock lock(&mutex_);
  return partition_requests_;
}

FakeTrouble FakeService::NextTrouble(const v1::SampleRequest& request) {
  MutexLock lock(&mutex_);
  requests_.push_back(request);
  if (troubles_.empty()) return {};
  const FakeTrouble trouble = troubles_.front();
  troubles_.erase(troubles_.begin());
  return trouble;
}

v1::ModelInfo FakeService::Info() const {
  const v1::SampleHeader header = run_.Header(1);
  v1::ModelInfo info;
  info.set_name("fake");
  info.set_version(3);
  info.set_digest(header.model_digest());
  *info.mutable_target() = header.target();
  info.set_target_digest(header.target_digest());
  info.set_state(v1::MODEL_STATE_READY);
  info.set_parameters(12345);
  info.mutable_card()->mutable_quality()->set_ess(0.8123);
  info.mutable_card()->mutable_quality()->set_ess_error(0.0021);
  info.mutable_card()->mutable_quality()->set_acceptance(0.75);
  info.mutable_card()->mutable_quality()->set_samples(16384);
  info.MergeFrom(info_);
  return info;
}

grpc::Status FakeService::ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                                     v1::ListModelsResponse* response) {
  *response->add_models() = Info();
  response->mutable_server()->set_device("fake:1");
  return grpc::Status::OK;
}

grpc::Status FakeService::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                   v1::GetModelResponse* response) {
  if (request->name() != "fake") {
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no model ", request->name(), "; there is: fake")};
  }
  *response->mutable_model() = Info();
  response->set_spec_text("name: \"fake\"\n");
  response->set_manifest_json("{\"made\": \"up\"}");
  return grpc::Status::OK;
}

namespace {

// As a draining server does: delivers one step of the open state, which stays open, and a summary that is not complete.
void EndPolitely(const FakeRun& run, uint64_t k, uint64_t delivered, grpc::ServerWriter<v1::SampleResponse>* writer) {
  v1::SampleResponse summary = run.Summary(k, /*complete=*/false);
  if (delivered + 1 < run.MultiplicityOf(k)) {
    v1::SampleResponse message = run.Chunk(k, k + 1);
    message.mutable_chunk()->set_multiplicity(0, 1);
    const std::string token = absl::StrCat("k=", k, "+", delivered + 1);
    message.mutable_chunk()->set_resume_token(token);
    summary.mutable_summary()->set_resume_token(token);
    writer->Write(message);
  } else if (delivered > 0) {
    summary.mutable_summary()->set_resume_token(absl::StrCat("k=", k, "+", delivered));
  }
  writer->Write(summary);
}

}  // namespace

grpc::Status FakeService::Sample(grpc::ServerContext* context, const v1::SampleRequest* request,
                                 grpc::ServerWriter<v1::SampleResponse>* writer) {
  ++calls_;
  const FakeTrouble trouble = NextTrouble(*request);
  if (request->resume_token().empty() && request->model() != "fake") {
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no model ", request->model(), "; there is: fake")};
  }
  // The token is "k=LAST", or "k=LAST+STEPS" when that many steps of configuration LAST were delivered at a polite end.
  uint64_t k = 0;
  uint64_t delivered = 0;
  if (!request->resume_token().empty()) {
    char* end = nullptr;
    k = std::strtoull(request->resume_token().c_str() + 2, &end, 10);
    if (*end == '+') delivered = std::strtoull(end + 1, nullptr, 10);
  }
  FakeRunOptions options = options_;
  options.omit_fields = request->omit_fields();
  options.precision = request->precision();
  options.observables.assign(request->observables().begin(), request->observables().end());
  if (request->mode() != v1::SAMPLE_MODE_UNSPECIFIED) options.mode = request->mode();
  if (request->has_seed()) options.seed = request->seed();
  const FakeRun run(options);
  v1::SampleResponse message;
  *message.mutable_header() = run.Header(request->count());
  message.mutable_header()->set_numerics_class(numerics_class_);
  writer->Write(message);
  uint64_t left = request->count();
  for (int chunks = 0; left > 0; ++chunks) {
    if (chunks == trouble.after_chunks && trouble.hang) {
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return grpc::Status::CANCELLED;
    }
    if (chunks == trouble.after_chunks && trouble.cut_field) {
      message = run.Chunk(k, k + 1);
      message.mutable_chunk()->mutable_payload()->resize(100);
      message.mutable_chunk()->set_crc32c(Crc32c(message.chunk().payload().data(), 100));
      message.mutable_chunk()->set_resume_token(absl::StrCat("k=", k));
      writer->Write(message);
    }
    if (chunks == trouble.after_chunks && !trouble.corrupt) {
      if (trouble.end.ok()) EndPolitely(run, k, delivered, writer);
      return trouble.end;
    }
    uint64_t last = k;
    uint64_t steps = 0;
    while (last < k + per_chunk_ && steps < left + delivered) steps += run.MultiplicityOf(last++);
    message = run.Chunk(k, last);
    v1::SampleChunk* chunk = message.mutable_chunk();
    if (delivered > 0) {
      chunk->set_multiplicity(0, run.MultiplicityOf(k) - delivered);
      steps -= delivered;
      delivered = 0;
    }
    if (steps > left) {  // the chain ends inside the last state
      chunk->set_multiplicity(chunk->multiplicity_size() - 1, run.MultiplicityOf(last - 1) - (steps - left));
      steps = left;
    }
    if (chunks == trouble.after_chunks && trouble.corrupt) (*chunk->mutable_payload())[7] ^= 4;
    if (!writer->Write(message)) return grpc::Status::CANCELLED;
    ++chunks_sent_;
    left -= steps;
    k = last;
  }
  writer->Write(run.Summary(k, /*complete=*/true));
  return grpc::Status::OK;
}

grpc::Status FakeService::Measure(grpc::ServerContext*, const v1::MeasureRequest* request,
                                  grpc::ServerWriter<v1::MeasureResponse>* writer) {
  v1::MeasureResponse message;
  *message.mutable_header() = run_.Header(request->count());
  message.set_count(request->count());
  writer->Write(message);
  message.clear_header();
  message.set_done(request->count());
  for (const std::string& name : request->observables()) {
    v1::Estimate* estimate = message.add_estimates();
    estimate->set_observable(name);
    estimate->set_value(0.69781234);
    estimate->set_error(0.00012);
    estimate->set_exact(0.6977746580);
    estimate->set_tau_int(0.75);
    estimate->set_tau_int_error(0.03);
  }
  *message.mutable_statistics() = run_.Statistics(100);
  writer->Write(message);
  return grpc::Status::OK;
}

void FakeService::AddThermodynamics(const v1::EstimatePartitionFunctionRequest& request,
                                    v1::EstimatePartitionFunctionResponse* message) const {
  const v1::Target target = request.has_target() ? request.target() : run_.Header(1).target();
  v1::Thermodynamics* t = message->mutable_thermodynamics();
  t->set_mean_log_weight_target(52.7349);
  t->set_mean_log_weight_target_error(0.0043);
  t->set_free_energy_density(-2.1971);
  t->set_free_energy_density_error(0.00018);
  t->set_entropy_density(1.25);
  t->set_entropy_density_error(0.0025);
  for (const auto& [name, value] : TheoryParameters(target)) {
    v1::Estimate* derivative = t->add_derivatives();
    derivative->set_observable(name);
    derivative->set_value(3 * value * value);  // log Z is the cube of every parameter
    derivative->set_error(0.001);
  }
  if (!request.has_target()) return;
  const double first = TheoryParameters(target)[0].second;
  message->set_log_z(52.7301 + first * first * first);
  message->clear_exact();
  if (first < 3) return;
  message->mutable_quality()->set_reliable(false);
  message->mutable_quality()->set_unreliable_reason("too far away");
}

grpc::Status FakeService::EstimatePartitionFunction(grpc::ServerContext*,
                                                    const v1::EstimatePartitionFunctionRequest* request,
                                                    grpc::ServerWriter<v1::EstimatePartitionFunctionResponse>* writer) {
  v1::EstimatePartitionFunctionResponse message;
  *message.mutable_header() = run_.Header(request->samples());
  if (request->has_target()) *message.mutable_header()->mutable_target() = request->target();
  {
    MutexLock lock(&mutex_);
    partition_requests_.push_back(*request);
  }
  writer->Write(message);
  message.clear_header();
  message.set_done(request->samples());
  message.set_log_z(52.7301);
  message.set_log_z_error(0.0042);
  message.set_exact(52.735586655);
  message.set_final(true);
  message.set_error_reached(true);
  message.set_mean_log_weight(52.7254);
  message.set_mean_log_weight_error(0.0042);
  message.set_bias(-0.000125);
  message.mutable_quality()->set_reliable(true);
  if (request->thermodynamics()) AddThermodynamics(*request, &message);
  writer->Write(message);
  return grpc::Status::OK;
}

FakeServer::FakeServer(FakeService* service, const std::string& address) : address_(address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (address.compare(0, 5, "unix:") != 0) address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

}  // namespace haarflow::testing
