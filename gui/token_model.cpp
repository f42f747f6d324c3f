#include "gui/token_model.h"

#include <algorithm>
#include <cmath>

namespace fovea::gui {
namespace {

/// Words with the space before them, as tokens have it.
QStringList split_words(const QString& text) {
  QStringList words;
  for (const QChar c : text) {
    if (words.isEmpty() || c == QLatin1Char(' ')) words << QString();
    words.last() += c;
  }
  return words;
}

}  // namespace

TokenModel::TokenModel(Readings& readings, QObject* parent)
    : QAbstractListModel(parent), readings_(readings), patch_(ViewState::kNoPatch) {}

void TokenModel::set_run(const RunPtr& run) {
  beginResetModel();
  run_ = run;
  streamed_.clear();
  read_bars();
  endResetModel();
}

void TokenModel::set_stream(const QString& text) {
  const QStringList words = split_words(text);
  const bool grows = !run_ && !streamed_.isEmpty() && words.size() >= streamed_.size();
  if (!grows) {
    beginResetModel();
    run_.reset();
    bars_.clear();
    streamed_ = words;
    endResetModel();
    return;
  }
  const int before = static_cast<int>(streamed_.size());
  if (words.size() > before) beginInsertRows({}, before, static_cast<int>(words.size()) - 1);
  streamed_ = words;
  if (words.size() > before) endInsertRows();
  Q_EMIT dataChanged(index(before - 1), index(before - 1));
}

void TokenModel::set_patch(int patch) {
  if (patch == patch_) return;
  patch_ = patch;
  refresh();
}

void TokenModel::refresh() {
  if (!run_ || run_->tokens.empty()) return;
  read_bars();
  Q_EMIT dataChanged(index(0), index(rowCount() - 1));
}

void TokenModel::read_bars() {
  bars_.clear();
  if (!run_) return;
  bars_.resize(run_->tokens.size());
  double most = 0;
  for (int token = 0; token < run_->words(); ++token) {
    const Reading* reading = readings_.of(*run_, token);
    if (reading == nullptr) continue;
    Bars& bars = bars_[static_cast<std::size_t>(token)];
    bars.share = reading->share;
    if (patch_ < 0 || static_cast<std::size_t>(patch_) >= reading->values.size()) continue;
    const auto value = static_cast<double>(reading->values[static_cast<std::size_t>(patch_)]);
    if (std::isnan(value)) continue;
    bars.patch_value = value;
    bars.patch = value;
    most = std::max(most, value);
  }
  for (Bars& bars : bars_) {
    if (bars.patch) bars.patch = most > 0 ? *bars.patch / most : 0.0;
  }
}

int TokenModel::rowCount(const QModelIndex& parent) const {
  if (parent.isValid()) return 0;
  return static_cast<int>(run_ ? run_->tokens.size() : static_cast<std::size_t>(streamed_.size()));
}

QVariant TokenModel::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || index.row() >= rowCount()) return {};
  if (!run_) return role == Qt::DisplayRole ? streamed_[index.row()].trimmed() : QVariant();
  const auto row = static_cast<std::size_t>(index.row());
  const AnswerToken& token = run_->tokens[row];
  const Bars& bars = bars_[row];
  const QString word = token.text.trimmed();
  switch (role) {
    case Qt::DisplayRole:
      if (token.ends) return tr("end");
      return word.isEmpty() ? QStringLiteral("\u00b7") : word;
    case ShareRole:
      return bars.share ? QVariant(*bars.share) : QVariant();
    case PatchRole:
      return bars.patch ? QVariant(*bars.patch) : QVariant();
    case EndRole:
      return token.ends;
    case Qt::AccessibleTextRole:
    case Qt::ToolTipRole: {
      QString text = token.ends ? tr("Token %1 ends the answer").arg(row)
                                : tr("Token %1: \u201c%2\u201d").arg(row).arg(word);
      text += tr(", id %1").arg(token.id);
      if (bars.share) {
        text += tr("\n%1 % of its attention is on the picture").arg(100 * *bars.share, 0, 'f', 1);
      }
      if (bars.patch) text += tr("\n%1 on patch %2").arg(bars.patch_value, 0, 'g', 3).arg(patch_);
      return text;
    }
    default:
      return {};
  }
}

}  // namespace fovea::gui
