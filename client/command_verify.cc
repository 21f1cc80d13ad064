// haarflow verify: a file's configurations drawn again from their names, or weighed by a model.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/verification.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/io/configuration_file.h"
#include "core/io/gauge_field.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

// Fields further from the group are not what a model's density is about.
constexpr double kGroupTolerance = 1e-6;

absl::Status Usage(const std::string& what) { return WithExitCode(absl::InvalidArgumentError(what), kExitUsage); }

std::string NamesOf(const VerifyOptions& options) { return absl::StrJoin(options.files, ", "); }

// ------------------------------------------------------------------------------------------------------- drawn again

absl::StatusOr<ExitCode> Regenerate(const Globals& globals, const VerifyOptions& options, const PartContents& run,
                                    const std::stop_token& stop) {
  const v1::SampleHeader& header = run.header;
  if (TargetDigest(header.target()).Bytes() != header.target_digest()) {
    return absl::DataLossError(
        absl::StrCat(NamesOf(options), ": target_digest is not that of the target: one of them was altered"));
  }
  std::unique_ptr<Client> client;
  std::unique_ptr<ProposalSource> source;
  if (options.store.empty()) {
    ASSIGN_OR_RETURN(client, ConnectTo(globals));
    source = ProposalsFromServer(*client, header, stop);
  } else {
    ASSIGN_OR_RETURN(source, ProposalsFromStore(options.store, header, stop));
  }
  Verification verification(run, source.get());
  RETURN_IF_ERROR(
      ReadConfigurations(options.files, [&](const SampleRow& row) { return verification.Add(row); }).status());
  RETURN_IF_ERROR(verification.Finish());
  const bool chain = IsMetropolis(header);
  if (globals.json) {
    PrintJson({{"run", HeaderJson(header)},
               {"configurations", run.configurations},
               {"proposals", verification.proposals()},
               {"whole_run", verification.whole()},
               {"bit_for_bit", verification.bit_for_bit()},
               {"third_rows_rebuilt", verification.rebuilt_rows()},
               {"largest_difference", verification.largest_difference()},
               {"equal", true}});
    return kExitOk;
  }
  std::string text =
      absl::StrCat(DescribeRun(header), "\n", Grouped(run.configurations), " configurations, drawn again ",
                   options.store.empty() ? "by the server" : "from " + options.store, ": ");
  absl::StrAppend(&text,
                  verification.bit_for_bit()
                      ? std::string("equal bit for bit")
                      : absl::StrCat("equal to rounding (", run.numerics_class, " and ", source->numerics_class(),
                                     ", largest difference ", Significant(verification.largest_difference(), 2), ")"));
  if (verification.rebuilt_rows()) text += ", third rows rebuilt";
  absl::StrAppend(&text, "\ncompared    fields, log_q, action, log_weight, ", absl::StrJoin(header.observables(), ", "),
                  header.observables().empty() ? "" : ", ", "digests",
                  verification.whole() && chain ? ", multiplicities and acceptance of the whole chain" : "");
  if (!verification.whole() && chain) text += "; a part of its run: not the multiplicities";
  Print(text + "\n");
  return kExitOk;
}

// ------------------------------------------------------------------------------------------------- weighed by a model

struct Weighed {
  uint64_t index = 0;
  double plaquette = NAN;
  double action = NAN;
  std::optional<double> log_q;
};

class Weigher {
 public:
  Weigher(const Model& model, const v1::Target& target, const ObservableSet& observables)
      : model_(model), target_(target), observables_(observables) {}

  absl::StatusOr<Weighed> Weigh(const SampleRow& row, const v1::SampleHeader& header) {
    proposals_.Resize(1, FieldSize(header.target()));
    ReadNumbers(row.field, header, proposals_.field.data());
    if (target_.sun_wilson().colours() == 3) {
      const double distance = DistanceFromSu3(proposals_.field);
      if (!(distance < kGroupTolerance)) {
        return absl::FailedPreconditionError(absl::StrFormat(
            "configuration %d has links that are not SU(3), by up to %.2g: project them first", row.index, distance));
      }
    }
    std::vector<double> values(observables_.size());
    observables_.Evaluate(proposals_.field.data(), values.data());
    Weighed weighed{.index = row.index, .action = values[0]};
    if (values.size() > 1) weighed.plaquette = values[1];
    const absl::Status density = model_.Density(target_, &proposals_);
    if (density.ok()) {
      weighed.log_q = proposals_.log_q[0];
    } else if (!absl::IsUnimplemented(density)) {
      return density;
    }
    return weighed;
  }

 private:
  const Model& model_;
  const v1::Target& target_;
  const ObservableSet& observables_;
  Proposals proposals_;
};

void PrintWeighed(const Globals& globals, const std::string& theory, const std::vector<Weighed>& all) {
  Json rows = Json::array();
  std::vector<std::vector<std::string>> table = {{"configuration", "plaquette", "action", "log q", "log w"}};
  for (const Weighed& one : all) {
    const double log_q = one.log_q.value_or(NAN);
    rows.push_back({{"index", one.index},
                    {"plaquette", one.plaquette},
                    {"action", one.action},
                    {"log_q", log_q},
                    {"log_weight", -one.action - log_q}});
    const auto number = [](double value) { return std::isnan(value) ? std::string("-") : Significant(value, 13); };
    table.push_back({absl::StrCat(one.index), number(one.plaquette), number(one.action), number(log_q),
                     number(-one.action - log_q)});
  }
  if (globals.json) {
    PrintJson({{"target", theory}, {"configurations", std::move(rows)}});
  } else {
    Print(absl::StrCat(theory, "\n", Table(table, {false, true, true, true, true})));
  }
}

absl::StatusOr<ExitCode> WeighAll(const Globals& globals, const VerifyOptions& options, const PartContents& run) {
  if (options.store.empty()) return Usage("--model weighs fields in this process: give the store with --store DIR");
  ASSIGN_OR_RETURN(const auto model, LoadModel(options.store, options.model));
  if (!SameFields(model->target(), run.header.target())) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " is made for ", DescribeTarget(model->target()),
                                                   ", other fields than those of ", NamesOf(options)));
  }
  ASSIGN_OR_RETURN(const v1::Target target, WithSettings(model->target(), options.settings));
  std::vector<std::string> names = {"action"};
  if (IsGauge(target)) names.push_back("plaquette");
  ASSIGN_OR_RETURN(const ObservableSet observables, ObservableSet::Create(target, names));
  Weigher weigher(*model, target, observables);
  std::vector<Weighed> all;
  RETURN_IF_ERROR(ReadConfigurations(options.files, [&](const SampleRow& row) -> absl::Status {
                    ASSIGN_OR_RETURN(all.emplace_back(), weigher.Weigh(row, run.header));
                    return absl::OkStatus();
                  }).status());
  PrintWeighed(globals, absl::StrCat(options.model, ", ", DescribeTarget(target)), all);
  return kExitOk;
}

// Fields of another program without a model: what reading checked.
ExitCode PrintForeign(const Globals& globals, const VerifyOptions& options, const PartContents& run) {
  if (globals.json) {
    PrintJson(
        {{"foreign", true}, {"configurations", run.configurations}, {"lattice", LatticeText(run.header.target())}});
  } else {
    Print(absl::StrCat(NamesOf(options), ": ", run.configurations, " SU(3) fields of another program on ",
                       LatticeText(run.header.target()),
                       "; checksums, plaquette and link trace agree with what the files say.\n",
                       "Give --model NAME and --store DIR for their action and log q.\n"));
  }
  return kExitOk;
}

}  // namespace

absl::StatusOr<ExitCode> RunVerify(const Globals& globals, const VerifyOptions& options, const std::stop_token& stop) {
  const auto run = ReadConfigurations(options.files, nullptr);
  if (!run.ok()) return FileTrouble(run.status());
  if (!options.settings.empty() && options.model.empty()) return Usage("--set belongs to --model");
  if (!options.model.empty()) return WeighAll(globals, options, *run);
  if (IsForeign(run->header)) return PrintForeign(globals, options, *run);
  return Regenerate(globals, options, *run, stop);
}

}  // namespace haarflow
