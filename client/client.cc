#include "client/client.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>

#include <charconv>
#include <condition_variable>
#include <future>
#include <mutex>

#include "client/endpoint.h"
#include "client/rpc.h"
#include "client/sample_stream.h"
#include "client/trace.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "haarflow/v1/sampler.grpc.pb.h"

namespace haarflow {
namespace {

bool StartsWith(const std::string& text, const std::string& start) { return text.compare(0, start.size(), start) == 0; }

bool IsLoopback(const std::string& address) {
  return StartsWith(address, "unix:") || StartsWith(address, "127.") || StartsWith(address, "localhost:") ||
         StartsWith(address, "[::1]:");
}

absl::Status CheckAddress(const std::string& address) {
  if (StartsWith(address, "unix:") && address.size() > 5) return absl::OkStatus();
  const size_t colon = address.find_last_of(':');
  if (colon != std::string::npos && colon > 0 && colon + 1 < address.size() &&
      address.find_first_not_of("0123456789", colon + 1) == std::string::npos && address.size() - colon <= 6) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", address, "\" is no server address: give host:port, for example 127.0.0.1:50151, or unix:/path"));
}

// "failed to connect to all addresses; last error: ...: Connection refused" -> "Connection refused".
std::string CauseOf(const std::string& message) {
  const size_t colon = message.find_last_of(':');
  return colon == std::string::npos || colon + 2 >= message.size() ? message : message.substr(colon + 2);
}

// Reads a stream to its end: the last message, when the call succeeded. `progress` returning false cancels.
template <typename Response, typename Progress>
absl::StatusOr<Response> ReadToEnd(grpc::ClientContext* context, std::unique_ptr<grpc::ClientReader<Response>> reader,
                                   const std::string& address, const Progress& progress) {
  Response response;
  Response last;
  bool any = false;
  bool stopped = false;
  while (reader->Read(&response)) {
    last.Swap(&response);
    any = true;
    if (!stopped && progress && !progress(last)) {
      stopped = true;
      context->TryCancel();
    }
  }
  const grpc::Status status = reader->Finish();
  if (stopped) return absl::CancelledError("stopped by the caller");
  if (!status.ok()) return ToAbsl(status, address);
  if (!any) return absl::DataLossError(absl::StrCat("the server at ", address, " ended the call without a result"));
  return last;
}

struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  const std::string& address;
  const std::string& token;
};

// Calls `start(stub, context)` and reads it to its end; comes back as often as a full server says, for
// options.resume_for.
template <typename Response, typename Start, typename Progress>
absl::StatusOr<Response> ReadWhenAdmitted(const Connection& to, const StreamOptions& options, const Start& start,
                                          const Progress& progress) {
  const auto give_up = std::chrono::steady_clock::now() + options.resume_for;
  const auto stub = v1::SamplerService::NewStub(to.channel);
  for (;;) {
    grpc::ClientContext context;
    ShowCaller(to.token, &context);
    const StopGuard guard(options.stop, &context);
    auto answer = ReadToEnd<Response>(&context, start(stub.get(), &context), to.address, progress);
    if (!absl::IsResourceExhausted(answer.status()) || !options.resume) return answer;
    const auto hint = RetryHint(context);
    if (!hint.has_value() || std::chrono::steady_clock::now() + *hint > give_up) return answer;
    if (options.on_resume) options.on_resume(answer.status());
    if (!WaitUnlessStopped(options.stop, *hint)) return absl::CancelledError("stopped by the caller");
  }
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsFor(const ClientOptions& options) {
  const bool tls = options.tls || !options.ca_file.empty() || !options.certificate_file.empty();
  if (!tls) return grpc::InsecureChannelCredentials();
  constexpr uint64_t kMaxPemBytes = 1 << 20;
  grpc::SslCredentialsOptions files;
  for (const auto& [path, text] :
       {std::pair(&options.ca_file, &files.pem_root_certs), std::pair(&options.certificate_file, &files.pem_cert_chain),
        std::pair(&options.key_file, &files.pem_private_key)}) {
    if (path->empty()) continue;
    ASSIGN_OR_RETURN(*text, ReadFile(*path, kMaxPemBytes));
  }
  return grpc::SslCredentials(files);
}

}  // namespace

absl::Status ToAbsl(const grpc::Status& status, const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (code == absl::StatusCode::kUnavailable && status.error_message().find("failed to connect") != std::string::npos) {
    return absl::UnavailableError(
        absl::StrCat("no server answers at ", address, " (", CauseOf(status.error_message()),
                     "): start haarflow-server, or give its address with --server or $HAARFLOW_SERVER"));
  }
  if (code == absl::StatusCode::kUnavailable) {
    return absl::UnavailableError(absl::StrCat("server at ", address, ": ", status.error_message()));
  }
  if (code == absl::StatusCode::kDeadlineExceeded) {
    return absl::DeadlineExceededError(absl::StrCat("server at ", address, " did not answer in time"));
  }
  return absl::Status(code, status.error_message());
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& where, const ClientOptions& options) {
  ASSIGN_OR_RETURN(const std::string address, ResolveAddress(where));
  RETURN_IF_ERROR(CheckAddress(address));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A restarted server is found soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Retries are ours: they know where the stream was.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A name with several addresses is a set of replicas: calls take turns, and one that lost its server goes to the
  // next.
  arguments.SetLoadBalancingPolicyName("round_robin");
  // A cluster's http_proxy is not for this machine itself.
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  ASSIGN_OR_RETURN(const auto credentials, CredentialsFor(options));
  const bool clear = !options.tls && options.ca_file.empty() && options.certificate_file.empty();
  if (!options.token.empty() && clear && !IsLoopback(address)) {
    return absl::FailedPreconditionError(
        absl::StrCat("a token would travel in clear to ", address, ": use TLS (--tls, --tls-ca)"));
  }
  return grpc::CreateCustomChannel(ShuffleReplicas(address), credentials, arguments);
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& address, const ClientOptions& options) {
  ASSIGN_OR_RETURN(auto channel, MakeChannel(address, options));
  return std::unique_ptr<Client>(new Client(address, options, std::move(channel)));
}

void ShowToken(const std::string& token, grpc::ClientContext* context) {
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
}

void ShowCaller(const std::string& token, grpc::ClientContext* context) {
  ShowToken(token, context);
  context->AddMetadata("traceparent", Traceparent());
}

std::optional<std::chrono::milliseconds> RetryHint(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find("grpc-retry-pushback-ms");
  if (found == trailers.end()) return std::nullopt;
  constexpr int64_t kLongestMs = 3600 * 1000;
  int64_t ms = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [stopped_at, error] = std::from_chars(found->second.data(), end, ms);
  if (error != std::errc() || stopped_at != end || ms < 0 || ms > kLongestMs) return std::nullopt;
  return std::chrono::milliseconds(ms);
}

bool WaitUnlessStopped(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

void BeginCall(const ClientOptions& options, grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + options.call_deadline);
  ShowCaller(options.token, context);
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels() const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::ListModelsResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::SamplerService::NewStub(channel_)->ListModels(&context, {}, &response), address_));
  return response;
}

absl::StatusOr<v1::GetModelResponse> Client::GetModel(const std::string& name) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::GetModelRequest request;
  request.set_name(name);
  v1::GetModelResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::SamplerService::NewStub(channel_)->GetModel(&context, request, &response), address_));
  return response;
}

absl::Status Client::Sample(const v1::SampleRequest& request, const StreamOptions& options,
                            const SampleCallback& callback) const {
  // The file may name another address by the time a stream is resumed.
  const auto connect = [this]() -> absl::StatusOr<std::unique_ptr<v1::SamplerService::Stub>> {
    if (!IsEndpointFile(address_)) return v1::SamplerService::NewStub(channel_);
    ASSIGN_OR_RETURN(const auto channel, MakeChannel(address_, options_));
    return v1::SamplerService::NewStub(channel);
  };
  SampleStream stream(connect, address_, options_.token, request, options);
  return stream.Run(callback);
}

absl::StatusOr<v1::MeasureResponse> Client::Measure(const v1::MeasureRequest& request, const StreamOptions& options,
                                                    const MeasureCallback& progress) const {
  return ReadWhenAdmitted<v1::MeasureResponse>(
      {channel_, address_, options_.token}, options,
      [&](v1::SamplerService::Stub* stub, grpc::ClientContext* context) { return stub->Measure(context, request); },
      progress);
}

absl::StatusOr<v1::EstimatePartitionFunctionResponse> Client::EstimatePartitionFunction(
    const v1::EstimatePartitionFunctionRequest& request, const StreamOptions& options,
    const PartitionCallback& progress) const {
  return ReadWhenAdmitted<v1::EstimatePartitionFunctionResponse>(
      {channel_, address_, options_.token}, options,
      [&](v1::SamplerService::Stub* stub, grpc::ClientContext* context) {
        return stub->EstimatePartitionFunction(context, request);
      },
      progress);
}

absl::StatusOr<bool> Client::IsServing(const std::string& service) const {
  // HealthCheckRequest { string service = 1 } and HealthCheckResponse { enum status = 1 } have the wire form of these
  // two.
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(channel_);
  constexpr int kServing = 1;
  grpc::ClientContext context;
  BeginCall(options_, &context);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&done](const grpc::Status& status) { done.set_value(status); });
  RETURN_IF_ERROR(ToAbsl(done.get_future().get(), address_));
  return response.value() == kServing;
}

}  // namespace haarflow
